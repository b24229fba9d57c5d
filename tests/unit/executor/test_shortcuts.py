"""The loop on which values are converted: it asks the system for nothing until somebody waits."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from services.executor.bootstrap import shortcuts


def nowhere(*_: object) -> object:
    raise AssertionError("it was to run here")


async def says(word: str) -> str:
    return word


async def waits(word: str) -> str:
    """Until another thread has told it."""
    loop = asyncio.get_running_loop()
    told = loop.create_future()
    threading.Thread(target=loop.call_soon_threadsafe, args=(told.set_result, word)).start()
    await asyncio.sleep(0.001)
    return str(await told)


for work in (says, waits):
    work.__name__ = shortcuts.CONVERSIONS[0]


@pytest.fixture
def conversions() -> shortcuts.Conversions:
    return shortcuts.Conversions(nowhere)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_never_waits_needs_no_descriptor(conversions: shortcuts.Conversions) -> None:
    before = descriptors()
    assert [conversions.run_sync(says, word) for word in "ab"] == ["a", "b"]
    assert descriptors() == before


def test_what_waits_is_woken_by_other_threads(conversions: shortcuts.Conversions) -> None:
    before = descriptors()
    assert [conversions.run_sync(waits, word) for word in "ab"] == ["a", "b"]
    conversions.loop.close()
    assert descriptors() == before


@pytest.mark.parametrize("waited", [False, True])
def test_a_fork_shares_nothing_with_the_process_that_it_comes_from(
    conversions: shortcuts.Conversions, waited: bool
) -> None:
    assert conversions.run_sync(waits if waited else says, "a") == "a"
    child = os.fork()
    if child == 0:
        sound = conversions.loop.sound() is not waited and conversions.run_sync(waits, "b") == "b"
        os._exit(0 if sound else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert conversions.run_sync(waits, "c") == "c"
    conversions.loop.close()


def test_one_whose_descriptors_a_task_has_closed_is_replaced(conversions: shortcuts.Conversions) -> None:
    child = os.fork()  # whoever frees the closed one would close what has its number by then
    if child == 0:
        sound = conversions.run_sync(waits, "a") == "a"
        before = conversions.loop
        os.close(before.selector.fileno())
        sound = sound and conversions.run_sync(waits, "b") == "b" and conversions.loop is not before
        os._exit(0 if sound else 1)
    assert os.waitpid(child, 0)[1] == 0
