"""TCP ports for the processes of one system."""

from __future__ import annotations

import random
import socket

from services.standalone.settings import CannotStart

LOOPBACK = "127.0.0.1"

_LOWEST, _HIGHEST = 20_000, 29_999
"""Below the kernel's ephemeral range: while a killed process is down, no outgoing connection can be given its port."""


def claim(port: int) -> int:
    """`port` if nobody listens on it, any free one for 0. Raises `CannotStart` when it is taken."""
    if port == 0:
        return free(set())
    if not available(port):
        raise CannotStart(
            f"port {port} is in use (another airscrew, or Flyte's sandbox?): stop what listens there, or give --port"
        )
    return port


def beside(port: int, taken: set[int]) -> int:
    """The port after `port` if it is free, so that it is easy to remember; any free one otherwise."""
    if port + 1 not in taken and port < 65_535 and available(port + 1):
        taken.add(port + 1)
        return port + 1
    return free(taken)


def free(taken: set[int]) -> int:
    """A free port that is not in `taken`, to which it is added."""
    for port in random.sample(range(_LOWEST, _HIGHEST + 1), 200):
        if port not in taken and available(port):
            taken.add(port)
            return port
    raise CannotStart(f"no free TCP port between {_LOWEST} and {_HIGHEST}")


def available(port: int) -> bool:
    """Whether nobody listens on it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free to listen on
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
