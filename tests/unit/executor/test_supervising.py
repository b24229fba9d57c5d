"""A stop reaches a task process from its first moment on."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import pytest

from services.executor.bootstrap import supervisor, warden


def forked(run: Callable[[], object]) -> int:
    """The status of a process that calls it: 0, or 1 when that raises, or when it leaves SIGTERM blocked."""
    child = os.fork()
    if child == 0:
        try:
            run()
            assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def told(start: Callable[[], object], stop: bool) -> str:
    """How a task process has ended that does `start`, and was stopped before it could if `stop` is set."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stopped, passed_on = os.pipe()

    class Watch(supervisor.Supervisor):
        def signal_everything(self, number: int) -> None:
            super().signal_everything(number)
            os.write(passed_on, b"!")

    def begin() -> None:
        if stop:
            os.read(stopped, 1)
        start()

    if stop:
        ours.send(b"T")
    with ours, theirs:
        assert forked(lambda: Watch(theirs.fileno(), supervisor.Alarm(), 0, 60.0).run(begin, None)) == 0
        os.close(stopped)
        os.close(passed_on)
        return ours.recv(100).decode()


def command(script: str) -> Callable[[], object]:
    return lambda: supervisor.become(["sh", "-c", script], os.dup(2), -1, -1, os.getppid())


def begun(stops_itself: bool) -> Callable[[], object]:
    def start() -> NoReturn:
        warden._begin()
        if stops_itself:
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)

    return start


@pytest.mark.parametrize("start", [begun(stops_itself=False), command("exit 0")], ids=["forked", "cold"])
def test_a_stop_that_comes_before_a_task_process_has_begun_ends_it(start: Callable[[], object]) -> None:
    assert told(start, stop=True) == f"ended signal {signal.SIGTERM:d} 0\n"


@pytest.mark.parametrize("start", [begun(stops_itself=True), command("kill -TERM $$")], ids=["forked", "cold"])
def test_a_task_process_gets_the_signals_that_any_process_gets(start: Callable[[], object]) -> None:
    assert told(start, stop=False) == f"ended signal {signal.SIGTERM:d} 0\n"


def test_a_process_that_cannot_fork_can_be_stopped_still(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> NoReturn:
        raise BlockingIOError("no more processes")

    ours, theirs = socket.socketpair()

    def run() -> None:
        monkeypatch.setattr(os, "fork", fork)
        supervisor.Supervisor(theirs.fileno(), supervisor.Alarm(), 0, 60.0).run(lambda: None, None)
        assert ours.recv(100) == b"refused no more processes\n"

    with ours, theirs:
        assert forked(run) == 0
