"""Wires a propeller: opens its ports, serves sessions, leads when it is its turn, stops in order."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from libs import blob
from libs.blob import BlobStore
from libs.clients.queue import Publisher, WorkFeed
from libs.election import Access, Election
from libs.rpc import server
from libs.runtime.process import Life
from libs.store.ledger import Ledger
from protos import propeller_pb2_grpc
from services.propeller.api import SERVICE, PropellerApi
from services.propeller.leadership import Leadership
from services.propeller.settings import PropellerSettings
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.term import Term

STREAMS_GRACE_SECONDS = 2.0
"""How long sessions may take to end after the term has ended them."""


async def serve(settings: PropellerSettings, life: Life) -> None:
    """Runs a propeller until the process is told to stop.

    Order of stopping (promise P9): not-serving, turns under way are committed, sessions end, the lease is resigned, what
    is open is closed.
    """
    identity = settings.identity or f"{socket.gethostname()}-{os.getpid()}"
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_store(settings))
        publisher = await _publisher(settings, stack)
        leadership = _Later()
        api = PropellerApi(settings, leadership, life.clock)
        rpc = server.build(
            settings.listen,
            services={SERVICE: lambda grpc: propeller_pb2_grpc.add_PropellerServicer_to_server(api, grpc)},
        )
