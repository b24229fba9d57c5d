"""The supervisor, over small programs of our own: real processes, because what it promises is about processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.standalone import supervisor
from services.standalone.settings import CannotStart
from services.standalone.supervisor import Program, State, Supervisor
from tests.support.markers import alive
from tests.support.waiting import until

# Says that it is ready; ends at SIGTERM with 0, or not at all if it is stubborn.
CHILD = """
import os, signal, socket, sys, time
manner = sys.argv[1]
print("starting", flush=True)
if manner == "broken":
    sys.exit("a setting is wrong")
if manner == "panic":
    sys.exit("panic: no space left on device\\n\\ngoroutine 1 [running]:" + "\\nmain.main()" * 20)
if manner == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if manner != "mute":
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for said in (b"STATUS=nearly there", b"STATUS=there\\nREADY=1"):
        door.sendto(said, os.environ["NOTIFY_SOCKET"].replace("@", "\\0"))
while True:
    time.sleep(60)
"""


class Bench:
    """Makes programs, and remembers what the supervisor said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor(say=self.said.append)

    def program(self, name: str, manner: str = "good", grace_seconds: float = 5.0) -> Program:
        script = self.folder / "child.py"
        script.write_text(CHILD)
        return Program(
            name=name,
            argv=(sys.executable, "-S", str(script), manner),
            environ={"PATH": os.environ["PATH"]},
            log=self.folder / f"{name}.log",
            grace_seconds=grace_seconds,
        )

    def pid(self, name: str) -> int:
        return self.supervisor.children[name].process.pid


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    async with bench.supervisor:
        yield bench


async def test_a_program_is_started_once_it_says_that_it_is_ready(bench: Bench) -> None:
    await bench.supervisor.start(bench.program("one"))

    assert bench.supervisor.children["one"].state is State.READY
    assert (bench.folder / "one.log").read_text() == "starting\n"


async def test_a_program_that_cannot_say_so_is_asked(bench: Bench) -> None:
    asked: list[bool] = []

    async def probe() -> bool:
        asked.append(len(asked) == 1)
        return asked[-1]

    await bench.supervisor.start(replace(bench.program("one", "mute"), probe=probe))

    assert bench.supervisor.children["one"].state is State.READY
    assert asked == [False, True]


async def test_a_program_that_dies_is_started_again_with_a_word_about_it(bench: Bench) -> None:
    await bench.supervisor.start(bench.program("one"))
    first = bench.pid("one")

    os.kill(first, signal.SIGKILL)
    await until(lambda: bench.supervisor.children["one"].restarts == 1)
    await until(lambda: bench.supervisor.children["one"].state is State.READY)

    assert bench.pid("one") != first
    assert "one was killed by SIGKILL; starting it again" in bench.said[0]


async def test_a_program_that_ends_before_it_was_ready_fails_the_start_with_its_last_words(bench: Bench) -> None:
    with pytest.raises(CannotStart, match=r"one ended with exit code 1:\n.*\n.*a setting is wrong"):
        await bench.supervisor.start(bench.program("one", "broken"))


async def test_the_last_words_of_a_panic_are_its_reason_and_not_its_stacks(bench: Bench) -> None:
    with pytest.raises(CannotStart, match=r"panic: no space left on device$"):
        await bench.supervisor.start(bench.program("one", "panic"))


async def test_a_program_that_never_says_so_fails_the_start(bench: Bench) -> None:
    with pytest.raises(CannotStart, match="one did not answer within"):
        await bench.supervisor.start(bench.program("one", "mute"), deadline_seconds=0.5)


async def test_a_stopped_program_stays_down(bench: Bench) -> None:
    await bench.supervisor.start(bench.program("one"))

    await bench.supervisor.stop(["one"])

    assert not alive(bench.pid("one"))
    assert bench.supervisor.children["one"].state is State.DOWN
    assert bench.said == []


async def test_a_program_that_does_not_stop_within_its_grace_is_killed(bench: Bench) -> None:
    await bench.supervisor.start(bench.program("one", "stubborn", grace_seconds=0.2))

    await bench.supervisor.stop(["one"])

    assert not alive(bench.pid("one"))
    assert bench.said == ["one did not stop within 0 s and is killed"]


async def test_a_stop_does_not_wait_out_the_pause_before_a_restart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 3600.0)
    monkeypatch.setattr(supervisor, "RESTART_CAP_SECONDS", 3600.0)
    await bench.supervisor.start(bench.program("one"))
    one = bench.supervisor.children["one"]
    os.kill(bench.pid("one"), signal.SIGKILL)  # the first restart is immediate
    await until(lambda: one.restarts == 1 and one.state is State.READY)
    os.kill(bench.pid("one"), signal.SIGKILL)
    await until(lambda: one.state is State.DOWN)

    await bench.supervisor.stop(["one"])  # or it would take an hour

    assert one.gone.is_set() and one.restarts == 1


async def test_leaving_the_block_by_an_error_leaves_no_process_and_keeps_the_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(ValueError, match="as it was"):
        async with bench.supervisor:
            await bench.supervisor.start(bench.program("one", "stubborn"))
            raise ValueError("as it was")

    assert not alive(bench.pid("one"))


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    # A supervisor in a process of its own, so that it can be killed.
    outer = """
import asyncio, pathlib, sys
from services.standalone.supervisor import Program, Supervisor

async def yes():
    return True

async def main():
    async with Supervisor(say=print) as supervisor:
        program = Program("one", ("/bin/sleep", "600"), {}, pathlib.Path(sys.argv[1]), yes)
        await supervisor.start(program)
        print(supervisor.children["one"].process.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", outer, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    await until(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")

    process.kill()
    process.wait()
    process.stdout.close()

    await until(lambda: not alive(child))
