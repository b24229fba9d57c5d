"""The propeller's gRPC service: decode, call, encode.

An executor's stream belongs to one shard and has two halves. The reading half gives messages to the term's sessions as
they come; the writing half sends what has gathered in the session's outbox. The stream ends when either does, or when
the term does.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import grpc.aio

from libs.rpc.pace import Pace
from libs.runtime import together
from libs.wire import codec
from libs.wire.session import Hello, Leader, NotLeader, Welcome
from libs.workflow.errors import (
    AirscrewError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from libs.workflow.identity import AttemptId
from protos import propeller_pb2, propeller_pb2_grpc
from services.propeller.ends import Ends
from services.propeller.garbage.collector import Collector, Pass
from services.propeller.garbage.housekeeping import Housekeeping
from services.propeller.rooms import Room
from services.propeller.sessions import Session
from services.propeller.settings import PropellerSettings
from services.propeller.shards import Shards
from services.propeller.term import Term
from services.propeller.waits import why

logger = logging.getLogger(__name__)

SERVICE = propeller_pb2.DESCRIPTOR.services_by_name["Propeller"].full_name
HELLO_SECONDS = 10.0
"""How long a new stream may take to say who it is."""
SOON_SECONDS = 1.0
"""How long an executor is kept waiting for this replica to lead, where nobody else does. As long as an executor pauses
at most before it asks again: it is welcomed when the leader begins, and not up to a second later."""
FOLLOWER_SECONDS = 10.0
"""How long somebody who follows may leave ends lying before he makes room for others."""
MOST_DAYS = 1_000_000


class PropellerApi(propeller_pb2_grpc.PropellerServicer):
    """Sessions of executors, and who leads."""

    def __init__(
        self,
        settings: PropellerSettings,
        shards: Shards,
        die: Callable[[], None],
        housekeeping: Housekeeping | None = None,
        ends: Ends | None = None,
    ) -> None:
        """`die` ends this process at once, without a word to anybody. `ends` tells those who follow."""
        self._settings = settings
        self._shards = shards
        self._die = die
        self._housekeeping = housekeeping
        self._ends = ends or Ends(None)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds this service to a server."""
        propeller_pb2_grpc.add_PropellerServicer_to_server(self, server)

    async def Session(  # type: ignore[override]  # the form of handler that writes when it wants to
        self, request_iterator: AsyncIterator[propeller_pb2.ExecutorMessage], context: Any
    ) -> None:
        self._authenticate(context)
        hello = await _hello(request_iterator)
        term = await self._term(hello.shard)
        if term is None or hello.highest_epoch > term.epoch:
            await context.write(codec.encode_leader([NotLeader(await self._leaders())]))
            return
        # Opened before anything is awaited, so that the term, if it ends meanwhile, ends this session too.
        session = term.sessions.open(hello)
        reading = asyncio.create_task(_read(term, session, request_iterator), name=f"session-{session.executor}")
        try:
            await context.write(codec.encode_leader([self._welcome(term)]))
            async for batch in session.outbox:
                await context.write(codec.encode_leader(batch))
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            term.sessions.close(session)

    async def Status(self, request: propeller_pb2.StatusRequest, context: Any) -> propeller_pb2.StatusReply:
        reply = propeller_pb2.StatusReply(leaders=map(codec.leader_message, await self._leaders()))
        term = self._shards.term(request.shard)
        if term is not None:
            self._describe(term, reply)
            reply.waiting.extend(_waiting(term, map(codec.attempt, request.attempts)))
        return reply

    async def Drain(self, request: propeller_pb2.DrainRequest, context: Any) -> propeller_pb2.DrainReply:
        terms = self._shards.terms()
        if not terms:
            raise FailedPrecondition("this replica does not lead")
        if request.grace_us < 0:
            raise InvalidArgument(f"grace_us: {request.grace_us} is negative")
        # Told once is enough: it tells all its leaders that it drains.
        if not any(term.sessions.drain(request.executor, request.grace_us) for term in terms):
            raise NotFound(f"executor {request.executor!r} is not connected")
        return propeller_pb2.DrainReply()

    async def Die(  # type: ignore[override]  # the form of handler that writes when it wants to
        self, request_iterator: AsyncIterator[propeller_pb2.DieRequest], context: Any
    ) -> None:
        if not self._settings.chaos_allowed:
            raise PermissionDenied(
                "this propeller may not be killed: AIRSCREW_PROPELLER_CHAOS_ALLOWED is not set for it"
            )
        request = await anext(request_iterator, propeller_pb2.DieRequest())
        term = self._shards.term(request.shard)
        # The epoch of a leader rises when the store was away; the one that it began with does not.
        if term is None or request.epoch < term.epoch:
            raise FailedPrecondition(f"this replica does not lead shard {request.shard} in epoch {request.epoch}")
        await context.write(propeller_pb2.DieReply())
        async for _ in request_iterator:
            pass  # what a dying process has written last may not arrive: it goes on until the caller has heard
        logger.warning("killed by request while leading shard %d in epoch %d", term.shard, term.epoch)
        self._die()

    async def Follow(  # type: ignore[override]  # the form of handler that writes when it wants to
        self, request: propeller_pb2.FollowRequest, context: Any
    ) -> None:
        with self._ends.follower() as ends:
            await context.send_initial_metadata(())  # from here on nothing is missed
            pace = Pace()
            async for hints in ends:
                reply = propeller_pb2.FollowReply(ids=[id for id, _ in hints], phases=[phase for _, phase in hints])
                try:
                    async with asyncio.timeout(FOLLOWER_SECONDS):
                        await context.write(reply)
                except TimeoutError:
                    raise ResourceExhausted(f"ends were not taken for {FOLLOWER_SECONDS:g} s") from None
                await pace.rest(len(hints))

    async def Collection(self, request: propeller_pb2.CollectionRequest, context: Any) -> propeller_pb2.CollectionReply:
        housekeeping, term, collector = self._collecting(request.shard)
        if request.begin:
            collector.ask()
        waiting = await housekeeping.waiting(term.shard)
        limits, totals = housekeeping.limits, collector.totals
        return propeller_pb2.CollectionReply(
            shard=term.shard,
            **limits.retention.describe(),
            every_seconds=limits.every_seconds,
            delay_seconds=limits.delay_seconds,
            marked=waiting.marked,
            condemned=waiting.condemned,
            passes=totals.passes,
            now=None if totals.now is None else _pass(totals.now),
            last=None if totals.last is None else _pass(totals.last),
        )

    async def PreviewCollection(
        self, request: propeller_pb2.PreviewCollectionRequest, context: Any
    ) -> propeller_pb2.PreviewCollectionReply:
        housekeeping, term, _ = self._collecting(request.shard)
        days = request.days if request.HasField("days") else None
        if days is not None and not 0 <= days < MOST_DAYS:
            raise InvalidArgument(f"days: {days:g} is not between 0 and {MOST_DAYS}")
        return propeller_pb2.PreviewCollectionReply(
            projects=[
                propeller_pb2.PreviewCollectionReply.Project(
                    project=each.project,
                    heads=each.heads,
                    executions=each.executions,
                    live=each.live,
                    cached=each.cached,
                    held=each.held,
                    more=each.more,
                    measured=each.measured,
                    blobs=each.usage.blobs,
                    bytes=each.usage.bytes,
                )
                for each in await housekeeping.preview(term.shard, days)
            ]
        )

    def _collecting(self, shard: int) -> tuple[Housekeeping, Term, Collector]:
        term = self._shards.term(shard)
        if term is None:
            raise FailedPrecondition(f"this replica does not lead shard {shard}")
        if self._housekeeping is None or term.collector is None:
            raise FailedPrecondition("this replica collects no garbage")
        return self._housekeeping, term, term.collector

    async def _term(self, shard: int) -> Term | None:
        """What this replica has of a shard that it leads, or is about to."""
        if self._shards.term(shard) is None:
            own = self._settings.address or self._settings.listen
            # Its own address may be that of a former life, whose lease has not expired yet.
            if not any(known.shard == shard and known.address not in ("", own) for known in await self._leaders()):
                await together.within(SOON_SECONDS, self._shards.decided(shard))
        return self._shards.term(shard)

    def _authenticate(self, context: Any) -> None:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        expected = f"Bearer {self._settings.session_token}"
        if not hmac.compare_digest(str(given).encode(), expected.encode()):
            raise Unauthenticated("authorization: the session token is missing or wrong")

    def _welcome(self, term: Term) -> Welcome:
        return Welcome(
            shard=term.shard,
            epoch=term.epoch,
            heartbeat_us=round(self._settings.heartbeat_seconds * 1e6),
            grace_us=round(self._settings.executor_grace_seconds * 1e6),
            shards=len(self._shards),
        )

    async def _leaders(self) -> tuple[Leader, ...]:
        """Who leads which shard, as far as this replica knows."""
        try:
            known = await self._shards.leaders()
        except Unavailable as error:
            logger.warning("who leads is unknown: %s", error.message)
            known = self._shards.unknown()
        return tuple(Leader(shard, "" if leader is None else leader.address, epoch) for shard, leader, epoch in known)

    def _describe(self, term: Term, reply: propeller_pb2.StatusReply) -> None:
        connected = {session.executor: session for session in term.sessions.connected()}
        reply.leading = True
        reply.grace_us = round(self._settings.executor_grace_seconds * 1e6)
        reply.executors.extend(
            _described(term, room, connected.get(room.executor)) for room in term.placement.rooms.all()
        )
        reply.cold = term.take_over.cold
        reply.synced_us = term.take_over.synced_us
        reply.began_us = term.take_over.began_us
        reply.first_commit_us = term.committer.first_commit_us
        reply.pending_attempts = term.placement.pending
        reply.executions = len(term.library)
        reply.commits = term.committer.commits
        reply.committed_rows = term.committer.rows
        reply.fenced = term.committer.fenced
        reply.turns = term.reconciler.turns
        reply.messages_sent, reply.messages_received = term.sessions.messages
        reply.work_messages = term.sources.counters.messages_sent + term.sources.counters.messages_received


def _pass(done: Pass) -> propeller_pb2.CollectionReply.Pass:
    return propeller_pb2.CollectionReply.Pass(
        began_us=done.began_us,
        ended_us=done.ended_us,
        marked=done.marked,
        kept=done.kept,
        executions=done.executions,
        rows=done.rows,
        entries=done.entries,
        blobs=done.usage.blobs,
        bytes=done.usage.bytes,
        trouble=done.trouble,
    )


def _described(term: Term, room: Room, session: Session | None) -> propeller_pb2.StatusReply.Executor:
    return propeller_pb2.StatusReply.Executor(
        executor=room.executor,
        incarnation=room.incarnation,
        capacity=codec.slots_message(room.capacity),
        used=codec.slots_message(room.taken),
        attempts=len(term.placement.attempts_on(room.executor)),
        draining=session is not None and session.draining,
        trouble="not connected" if session is None else session.trouble,
        silent_us=round(term.sessions.silence(room.executor) * 1e6),
        connected=session is not None,
        places=room.places,
    )


def _waiting(term: Term, asked: Iterable[AttemptId]) -> Iterator[propeller_pb2.StatusReply.Waiting]:
    """Where attempts stand that wait."""
    placement = term.placement
    for attempt in asked:
        waiter = placement.lines.find(attempt)
        if waiter is not None:
            wish, project = waiter.line.wish, waiter.line.project
            kept = placement.rooms.kept
            yield propeller_pb2.StatusReply.Waiting(
                attempt=codec.attempt_message(attempt),
                since_us=waiter.since_us,
                asked=codec.slots_message(wish.slots),
                reason=why(placement.rooms, wish),
                ahead=placement.lines.ahead(attempt),
                in_project=placement.lines.count(project),
                running=placement.shares.count(project),
                limit=placement.shares.limit(project) or 0,
                kept=kept[0] if kept is not None and kept[1] == wish else "",
                starting=placement.holds_back(project),
                elsewhere=codec.slots_message(placement.rooms.elsewhere(wish)),
            )


async def _hello(messages: AsyncIterator[propeller_pb2.ExecutorMessage]) -> Hello:
    first = None
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            first = await anext(messages, None)
    except TimeoutError:
        logger.info("a session was opened by somebody who did not say who it is")
    hello = None if first is None else codec.decode_executor(first).hello
    if hello is None:
        raise InvalidArgument("hello: the first message of a session must say who it is from")
    return hello


async def _read(term: Term, session: Session, messages: AsyncIterator[propeller_pb2.ExecutorMessage]) -> None:
    try:
        async for message in messages:
            term.sessions.receive(session, codec.decode_executor(message))
    except AirscrewError as error:
        logger.warning("the session of executor %s ends: %s", session.executor, error.message)
    finally:
        session.outbox.close()
