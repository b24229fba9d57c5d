"""How a process says that it is ready, so that nobody has to ask it again and again: `libs.runtime.readiness`.

Asking would need gRPC in the supervisor, which takes as much memory as all the rest of it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from libs.runtime import readiness

_MESSAGE_BYTES = 4096


class Ear:
    """Hears one process; the next one is given another, so that nothing late is taken for its word."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("")  # the kernel chooses a name that is free and no file, which would be left behind

    @property
    def environ(self) -> Mapping[str, str]:
        """What the process has to find in its environment."""
        return {readiness.VARIABLE: "@" + self._socket.getsockname()[1:].decode()}

    async def ready(self) -> None:
        """Returns when it says so."""
        loop = asyncio.get_running_loop()
        while readiness.READY not in (await loop.sock_recv(self._socket, _MESSAGE_BYTES)).split(b"\n"):
            pass

    def close(self) -> None:
        self._socket.close()
