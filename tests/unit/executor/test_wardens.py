"""Who answers for task processes tells how they have ended, whatever becomes of what they have left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.executor import wardens
from services.executor.bootstrap import supervisor, warden
from services.executor.runner import Exit


def raises(error: BaseException) -> Any:
    def put_back(directories: object) -> None:
        raise error

    return put_back


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
