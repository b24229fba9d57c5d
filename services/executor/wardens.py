"""The executor's end of a warden: a process that answers for one task process at a time (`bootstrap/zygote.py`).

Everything that a supervisor guarantees of a command holds for what a warden starts. When this end of its socket is
closed, it kills what it has and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.executor import processes, runner

if TYPE_CHECKING:
    from services.executor.zygotes import Zygote

_SIGKILL = 9


class Warden:
    """One warden. `modules` is how many of the user's its zygote had imported when it was forked; `desk` is where one
    process after the other finds the directories that flytekit makes for every task.
    """

    def __init__(self, control: socket.socket, zygote: Zygote, modules: int, desk: str) -> None:
        control.setblocking(False)
        self._control = control
        self._zygote = zygote
        self.modules = modules
        self.desk = desk
        self.broken = False
        """It has died, may have something left to do, could start nothing, or has a desk that it cannot put back:
        nobody else gets it.
        """
        self.gone = asyncio.Event()
        """It has ended, and nothing of it is left."""
        self._unforked = ""

    def run(self, order: dict[str, Any], *descriptors: int) -> None:
        """Has a process started: how it ends tells `ended`. Raises OSError when the warden is known to be dead."""
        self.broken = True  # until `ended` says otherwise
        socket.send_fds(self._control, [json.dumps(order).encode()], list(descriptors))

    def stop(self) -> None:
        """Asks the process to end, and after its grace makes it."""
        with contextlib.suppress(OSError):
            self._control.send(b"T")

    async def ended(self, directory: Path) -> runner.Exit:
        """How the process has ended; nothing of it is left. If the warden died, `directory` says whose are the rest."""
        try:
            said = (await asyncio.get_running_loop().sock_recv(self._control, 4096)).decode(errors="replace")
        except ConnectionError:
            said = ""
        ended = runner.parse_exit(said)
        if ended is None:
            await self.gone.wait()
            if self._unforked:
                return runner.Exit(not_started=f"cannot start a process: {self._unforked}")
            await processes.end_all(directory)
            return runner.Exit(signal=_SIGKILL)
        self.broken = bool(ended.not_started) or "unclean" in said.splitlines()
        return ended

    def unforked(self, reason: str) -> None:
        """There is no such process, and will be none."""
        self._unforked = reason
        self.gone.set()

    def give_back(self) -> None:
        """This end needs it no more."""
        self._zygote.give_back(self)

    def close(self) -> None:
        """Ends it, and what it has."""
        self._control.close()
