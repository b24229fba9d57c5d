"""Wires a propeller: opens its ports, serves sessions, leads when it is its turn, stops in order."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from libs import blob
from libs.clients.queue import Publisher, WorkFeed
from libs.election import Access, Election
from libs.rpc import server
from libs.runtime.process import Life
from libs.store.ledger import Ledger
from services.propeller import store
from services.propeller.api import SERVICE, PropellerApi
from services.propeller.leadership import Leadership
from services.propeller.levels import Levels
from services.propeller.meters import Meters
from services.propeller.settings import PropellerSettings
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.term import Term

STREAMS_GRACE_SECONDS = 2.0
"""How long calls may take to end after the term has ended the sessions."""


async def serve(
    settings: PropellerSettings, life: Life, *, open_ledger: Callable[[], store.Ledger] | None = None
) -> None:
    """Runs a propeller until the process is told to stop. `open_ledger` is how it reaches the store.

    Order of stopping (promise P9): not-serving, turns under way are committed, sessions end, the lease is resigned,
    what is open is closed. Raises FailedPrecondition when the database's schema is not this version's.
    """
    async with AsyncExitStack() as stack:
        leader_store = LeaderStore(open_ledger or (lambda: Ledger(settings.database)))
        stack.push_async_callback(leader_store.close)
        await leader_store.check_schema()
        publisher = await stack.enter_async_context(Publisher(settings.queue)) if settings.queue else None
        election = await stack.enter_async_context(_election(settings, life))
        leadership = Leadership(
            settings,
            election,
            leader_store,
            life.clock,
            _new_term(settings, life, leader_store, publisher, election.holder),
        )
        api = PropellerApi(settings, leadership, die=lambda: os.kill(os.getpid(), signal.SIGKILL))
        rpc = server.build(settings.listen, services={SERVICE: api.register}, metering=life.metering)
        await rpc.start()
        rpc.ready()
        leading = life.spawn("leadership", leadership.run(life.stopping), eternal=False)
        await life.stopping.wait()
        rpc.not_serving()
        await leading
        await rpc.stop(STREAMS_GRACE_SECONDS)


def _election(settings: PropellerSettings, life: Life) -> Election:
    access = Access(
        endpoints=settings.etcd,
        ca=_path(settings.etcd_ca_file),
        certificate=_path(settings.etcd_cert_file),
        key=_path(settings.etcd_key_file),
        user=settings.etcd_user or None,
        password=settings.etcd_password or None,
    )
    return Election(
        access,
        key=f"/airscrew/shards/{settings.shard}/leader",
        holder=settings.identity or f"{socket.gethostname()}-{os.getpid()}",
        address=settings.address or settings.listen,
        ttl_seconds=settings.lease_ttl_seconds,
        clock=life.clock,
    )


def _new_term(
    settings: PropellerSettings, life: Life, leader_store: LeaderStore, publisher: Publisher | None, holder: str
) -> Callable[[int, Callable[[], bool]], Term]:
    blobs = blob.open(settings.blob)
    levels, meters = _levels(settings, life), _meters(settings, life)

    def feed(shard: int, epoch: int) -> WorkFeed | None:
        return WorkFeed(settings.queue, shard, epoch, holder) if settings.queue else None

    def new_term(epoch: int, leading: Callable[[], bool]) -> Term:
        return Term(
            epoch=epoch,
            settings=settings,
            store=leader_store,
            blob=blobs,
            feed=feed,
            publisher=publisher,
            clock=life.clock,
            spans=Spans(life.tracing),
            leading=leading,
            levels=levels,
            meters=meters,
        )

    return new_term


def _levels(settings: PropellerSettings, life: Life) -> Levels | None:
    if not life.metering.enabled:
        return None
    levels = Levels(settings.shard)
    levels.show(life.metering)
    return levels


def _meters(settings: PropellerSettings, life: Life) -> Meters | None:
    if not life.metering.enabled:
        return None
    meters = Meters(life.metering, life.clock, (settings.shard,))
    _ = life.spawn("meters", meters.board.watch())
    return meters


def _path(text: str) -> Path | None:
    return Path(text) if text else None
