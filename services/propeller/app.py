"""Wires a propeller: opens its ports, serves sessions, leads the shards whose turn it is, stops in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from libs import blob
from libs.clients.queue import Publisher, WorkFeed
from libs.election import Access, Election, Presence, leader_key
from libs.rpc import server
from libs.runtime.process import Life
from libs.store import installation
from libs.store.garbage import Garbage
from libs.store.ledger import Ledger
from services.propeller import store
from services.propeller.api import SERVICE, PropellerApi
from services.propeller.ends import Ends
from services.propeller.garbage.collector import Limits
from services.propeller.garbage.housekeeping import Housekeeping
from services.propeller.garbage.store import GarbageStore
from services.propeller.leadership import Leadership
from services.propeller.levels import Levels, show
from services.propeller.meters import Meters
from services.propeller.settings import PropellerSettings
from services.propeller.shards import Shards
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.term import Term

logger = logging.getLogger(__name__)

STREAMS_GRACE_SECONDS = 2.0
"""How long calls may take to end after the term has ended the sessions."""

PATIENCE_TTLS = 2
"""How many lives of a lease a shard may be without a leader until another replica than its own stands in."""


async def serve(
    settings: PropellerSettings, life: Life, *, open_ledger: Callable[[], store.Ledger] | None = None
) -> None:
    """Runs a propeller until the process is told to stop. `open_ledger` is how it reaches the store; where that is
    another one than the settings say, nothing is collected.

    Order of stopping (promise P9): not-serving, turns under way are committed, sessions end, the lease is resigned,
    what is open is closed. Raises FailedPrecondition when the database's schema is not this version's, or when it has
    another number of shards.
    """
    async with AsyncExitStack() as stack:
        leader_store = LeaderStore(open_ledger or (lambda: Ledger(settings.database)))
        stack.push_async_callback(leader_store.close)
        await leader_store.check_schema()
        await leader_store.prepare()
        await asyncio.to_thread(installation.agree_on_shards, settings.database, settings.shards)
        ends = Ends(await stack.enter_async_context(_publisher(settings)) if settings.queue else None)
        housekeeping = _housekeeping(settings, life) if open_ledger is None else None
        if housekeeping is not None:
            stack.push_async_callback(housekeeping.close)
        new_term = _new_term(settings, life, leader_store, ends, housekeeping)
        leaderships = []
        for shard in range(settings.shards):
            election = await stack.enter_async_context(_election(settings, life, shard))
            leaderships.append(Leadership(shard, election, leader_store, life.clock, partial(new_term, shard)))
        presence = await stack.enter_async_context(_presence(settings, life)) if settings.shards > 1 else None
        shards = Shards(leaderships, presence, life.clock, PATIENCE_TTLS * settings.lease_ttl_seconds)
        api = PropellerApi(
            settings, shards, die=lambda: os.kill(os.getpid(), signal.SIGKILL), housekeeping=housekeeping, ends=ends
        )
        rpc = server.build(settings.listen, services={SERVICE: api.register}, metering=life.metering)
        await rpc.start()
        rpc.ready()
        leading = life.spawn("leadership", shards.run(life.stopping), eternal=False)
        await life.stopping.wait()
        rpc.not_serving()
        await leading
        ends.close()
        await rpc.stop(STREAMS_GRACE_SECONDS)


def _publisher(settings: PropellerSettings) -> Publisher:
    if not settings.follow_at:
        logger.warning(
            "nobody can be told to follow this replica at %s, so clients hear of ends later: set"
            " AIRSCREW_PROPELLER_ADDRESS",
            settings.address or settings.listen,
        )
    return Publisher(settings.queue, tells_at=settings.follow_at)


def _access(settings: PropellerSettings) -> Access:
    return Access(
        endpoints=settings.etcd,
        ca=_path(settings.etcd_ca_file),
        certificate=_path(settings.etcd_cert_file),
        key=_path(settings.etcd_key_file),
        user=settings.etcd_user or None,
        password=settings.etcd_password or None,
    )


def _election(settings: PropellerSettings, life: Life, shard: int) -> Election:
    return Election(
        _access(settings),
        key=leader_key(shard),
        holder=_identity(settings),
        address=settings.address or settings.listen,
        ttl_seconds=settings.lease_ttl_seconds,
        clock=life.clock,
    )


def _presence(settings: PropellerSettings, life: Life) -> Presence:
    return Presence(
        _access(settings),
        replica=_identity(settings),
        address=settings.address or settings.listen,
        ttl_seconds=settings.lease_ttl_seconds,
        clock=life.clock,
    )


def _identity(settings: PropellerSettings) -> str:
    return settings.identity or f"{socket.gethostname()}-{os.getpid()}"


def _new_term(
    settings: PropellerSettings,
    life: Life,
    leader_store: LeaderStore,
    ends: Ends,
    housekeeping: Housekeeping | None,
) -> Callable[[int, int, Callable[[], bool]], Term]:
    blobs = blob.open(settings.blob)
    levels, meters = _levels(settings, life), _meters(settings, life)
    holder = _identity(settings)

    def feed(shard: int, epoch: int) -> WorkFeed | None:
        return WorkFeed(settings.queue, shard, epoch, holder) if settings.queue else None

    def new_term(shard: int, epoch: int, leading: Callable[[], bool]) -> Term:
        return Term(
            shard=shard,
            epoch=epoch,
            settings=settings,
            store=leader_store,
            blob=blobs,
            feed=feed,
            ends=ends,
            clock=life.clock,
            spans=Spans(life.tracing),
            leading=leading,
            levels=levels.get(shard),
            meters=meters,
            housekeeping=housekeeping,
        )

    return new_term


def _housekeeping(settings: PropellerSettings, life: Life) -> Housekeeping:
    limits = Limits(
        settings.retention(), settings.collect_every_seconds, settings.collect_delay_seconds, settings.collect_rows
    )
    store = GarbageStore(lambda: Garbage(settings.database))
    housekeeping = Housekeeping(store, blob.open(settings.blob), life.clock, limits)
    if life.metering.enabled:
        _ = life.spawn("garbage-metrics", housekeeping.board(life.metering).watch())
    return housekeeping


def _levels(settings: PropellerSettings, life: Life) -> dict[int, Levels]:
    """By shard; empty where nobody collects metrics."""
    if not life.metering.enabled:
        return {}
    levels = {shard: Levels(shard) for shard in range(settings.shards)}
    show(life.metering, levels.values())
    return levels


def _meters(settings: PropellerSettings, life: Life) -> Meters | None:
    if not life.metering.enabled:
        return None
    meters = Meters(life.metering, life.clock, range(settings.shards))
    _ = life.spawn("meters", meters.board.watch())
    return meters


def _path(text: str) -> Path | None:
    return Path(text) if text else None
