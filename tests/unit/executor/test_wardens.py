"""Who answers for task processes tells how they have ended, whatever becomes of what they have left behind."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import sys
import traceback
from collections import deque
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.executor import wardens, zygotes
from services.executor.bootstrap import desks, frames, supervisor, warden, zygote
from services.executor.runner import Exit


def raises(error: BaseException) -> Any:
    def does(*_: object) -> None:
        raise error

    return does


@pytest.mark.parametrize(
    ("put_back", "broken"),
    [(lambda directories: None, False), (raises(OSError("it resists")), True), (raises(RecursionError()), True)],
)
async def test_an_end_is_told_and_where_something_resists_nobody_else_gets_the_desk(
    put_back: Any, broken: bool
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            zygote: Any = SimpleNamespace(desks=SimpleNamespace(put_back=put_back))
            answers = warden.Warden(zygote, theirs.detach())
            watch = supervisor.Supervisor(answers.control.fileno(), supervisor.Alarm(), 0, 1.0)
            watch.run(lambda: os._exit(7), None, (), answers.put_back)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    theirs.close()
    answered = wardens.Warden(ours, None, 0, "")  # type: ignore[arg-type]  # it is not given back
    try:
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        assert await answered.ended(Path()) == Exit(code=7)
        assert answered.broken is broken
    finally:
        answered.close()


@pytest.mark.parametrize(("desk", "why"), [("/proc/none/desk", "/proc/none"), ("", os.strerror(errno.EAGAIN))])
async def test_why_nothing_can_be_started_is_told(desk: str, why: str, tmp_path: Path) -> None:
    """Its directories cannot be made, or the system does not fork."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            os.fork = raises(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
            way = SimpleNamespace(settle=lambda desk: None)
            here = SimpleNamespace(Surroundings=SimpleNamespace(here=lambda: None))
            parts: Any = SimpleNamespace(supervisor=supervisor, frames=frames, desks=desks, way=way, surroundings=here)
            warden.Warden(parts, theirs.detach()).serve(parent)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    theirs.close()
    answered = wardens.Warden(ours, None, 0, "")  # type: ignore[arg-type]  # it is not given back
    answered.gone.set()  # if it dies unheard
    channel, its = socket.socketpair()
    try:
        with its:
            order = {"reuse": False, "desk": desk or str(tmp_path), "memory_limit": 0, "grace": 1.0}
            answered.run(order, its.fileno(), its.fileno())
        ended = await answered.ended(tmp_path)
        assert ended == Exit(not_started=ended.not_started) and why in ended.not_started
        assert answered.broken and channel.recv(1) == b"", "nobody holds what the process would have had"
    finally:
        channel.close()
        answered.close()
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0


def test_of_what_a_warden_dies_is_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    control, other = socket.socketpair()
    with control, other:
        dies = SimpleNamespace(Warden=raises(ValueError("a mistake of ours")))
        parts: Any = SimpleNamespace(gathered=True, wardens=set(), control=control, warden=dies, tell=lambda told: None)
        zygote.Zygote.fork_warden(parts, other.fileno())
    (child,) = parts.wardens
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 126
    assert "ValueError: a mistake of ours" in capfd.readouterr().err


@pytest.mark.parametrize(("spoilt", "why"), [(True, "refused"), (False, os.strerror(errno.EAGAIN))])
async def test_that_a_warden_could_not_be_forked_is_told_and_its_zygote_lives_on(
    spoilt: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, executor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(os, "fork", raises(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))))
    parts: Any = SimpleNamespace(control=control, frames=frames, spoilt=spoilt, gathered=True, wardens=set())
    parts.tell = partial(zygote.Zygote.tell, parts)
    parts.fork_warden = partial(zygote.Zygote.fork_warden, parts)
    asked = wardens.Warden(ours, None, 0, "")  # type: ignore[arg-type]  # it is not given back
    with control, executor, theirs:
        socket.send_fds(executor, [json.dumps({"warden": True}).encode()], [theirs.fileno()])
        theirs.close()
        assert zygote.Zygote.obey(parts)
        waiting: Any = SimpleNamespace(_control=executor, _forking=deque([asked]))
        zygotes.Zygote._listen(waiting)
    ended = await asked.ended(Path())
    asked.close()
    assert ended == Exit(not_started=ended.not_started) and why in ended.not_started
