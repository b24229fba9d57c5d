"""Which of gRPC's two ways to the sockets a process uses: the older one.

gRPC's core can wait for its sockets in two ways. Its newer one (the "event engine") has a pool of threads for that, so
that a message wakes a thread of the pool, that one the thread which gives completions to asyncio, and that one the
event loop. In the older one the second of these threads waits for the sockets itself. Measured with gRPC 1.85 on two
cores, a message there and back over streams of grpc.aio: 7 changes of threads in each process against 4, and 180 µs of
processor time against 125, all in all. Nothing else differs: the wire is the same.

The core reads which one it is to be when it is imported, from `GRPC_EXPERIMENTS`. What an operator has put there stays,
and processes that this one starts inherit nothing.
"""

from __future__ import annotations

import os
import sys
from typing import Final

VARIABLE: Final = "GRPC_EXPERIMENTS"
OLDER: Final = "-event_engine_client,-event_engine_listener"


def choose() -> None:
    """Imports gRPC so that it waits for its sockets in the older way; does nothing where it is imported already."""
    if VARIABLE in os.environ or "grpc" in sys.modules:
        return
    os.environ[VARIABLE] = OLDER
    try:
        import grpc  # noqa: F401  # for what it reads when it is imported
    finally:
        del os.environ[VARIABLE]
