"""The propeller's gRPC service: decode, call, encode.

An executor's stream has two halves. The reading half gives messages to the term's sessions as they come; the writing
half sends what has gathered in the session's outbox. The stream ends when either does, or when the term does.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from typing import Any

from libs.runtime.clock import Clock
from libs.wire import attempts as wire
from libs.workflow.errors import AirscrewError, InvalidArgument, Unauthenticated, Unavailable
from protos import propeller_pb2, propeller_pb2_grpc
from services.propeller import sessions
from services.propeller.leadership import Leadership
from services.propeller.placement import Room
from services.propeller.settings import PropellerSettings
from services.propeller.term import Term

logger = logging.getLogger(__name__)

SERVICE = "airscrew.propeller.v1.Propeller"
HELLO_SECONDS = 10.0
"""How long a new stream may take to say who it is."""


class PropellerApi(propeller_pb2_grpc.PropellerServicer):
    """Sessions of executors, and who leads."""

    def __init__(self, settings: PropellerSettings, leadership: Leadership, clock: Clock) -> None:
        self._settings = settings
        self._leadership = leadership
        self._clock = clock

    async def Session(  # type: ignore[override]  # the form of handler that writes when it wants to
        self, request_iterator: AsyncIterator[propeller_pb2.ExecutorMessage], context: Any
    ) -> None:
        self._authenticate(context)
        hello = await _hello(request_iterator)
        term = self._leadership.term
        if term is None or hello.highest_epoch > term.epoch:
            await context.write(propeller_pb2.LeaderMessage(not_leader=await self._not_leader()))
            return
        await context.write(propeller_pb2.LeaderMessage(welcome=self._welcome(term)))
        session = term.sessions.open(hello)
        reading = asyncio.create_task(_read(term, session, request_iterator), name=f"session-{session.executor}")
        try:
            await _write(session, context)
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            term.sessions.close(session)

    async def Status(self, request: propeller_pb2.StatusRequest, context: Any) -> propeller_pb2.StatusReply:
        reply = propeller_pb2.StatusReply(leaders=(await self._not_leader()).leaders)
        term = self._leadership.term
        if term is not None:
            self._describe(term, reply)
        return reply

    def _authenticate(self, context: Any) -> None:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        expected = f"Bearer {self._settings.session_token}"
        if not hmac.compare_digest(str(given).encode(), expected.encode()):
            raise Unauthenticated("authorization: the session token is missing or wrong")

    def _welcome(self, term: Term) -> propeller_pb2.Welcome:
        return propeller_pb2.Welcome(
            shard=term.shard,
            epoch=term.epoch,
            heartbeat_us=round(self._settings.heartbeat_seconds * 1e6),
            grace_us=round(self._settings.executor_grace_seconds * 1e6),
        )

    async def _not_leader(self) -> propeller_pb2.NotLeader:
        try:
            leader = await self._leadership.observe()
        except Unavailable as error:
            logger.warning("who leads is unknown: %s", error.message)
            leader = None
        found = propeller_pb2.NotLeader.Leader(shard=self._settings.shard)
        if leader is not None:
            found.address = leader.address
        if self._leadership.term is not None:
            found.epoch = self._leadership.term.epoch
        return propeller_pb2.NotLeader(leaders=[found])

    def _describe(self, term: Term, reply: propeller_pb2.StatusReply) -> None:
        connected = {session.executor: session for session in term.sessions.connected()}
        reply.leading = True
        reply.executors.extend(
            self._executor(term, room, connected.get(room.executor)) for room in term.placement.rooms()
        )
        reply.pending_attempts = term.placement.pending
        reply.executions = len(term.library)
        reply.commits = term.committer.commits
        reply.committed_rows = term.committer.rows
        reply.fenced = term.committer.fenced
        reply.turns = term.reconciler.turns
        reply.messages_sent, reply.messages_received = term.sessions.messages
        reply.work_messages = term.work_counters.messages_sent + term.work_counters.messages_received

    def _executor(self, term: Term, room: Room, session: sessions.Session | None) -> propeller_pb2.StatusReply.Executor:
        return propeller_pb2.StatusReply.Executor(
            executor=room.executor,
            incarnation=room.incarnation,
            capacity=wire.slots_message(room.capacity),
            used=wire.slots_message(room.used),
            attempts=len(term.placement.attempts_on(room.executor)),
            draining=session is not None and session.draining,
            trouble="not connected" if session is None else session.trouble,
            silent_us=0 if session is None else round((self._clock.monotonic() - session.last_seen) * 1e6),
        )


async def _hello(messages: AsyncIterator[propeller_pb2.ExecutorMessage]) -> propeller_pb2.Hello:
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            first = await anext(messages, None)
    except TimeoutError:
        first = None
    if first is None or not first.HasField("hello"):
        raise InvalidArgument("hello: the first message of a session must say who it is from")
    for field in ("executor", "incarnation"):
        if not getattr(first.hello, field):
            raise InvalidArgument(f"hello.{field}: must not be empty")
    return first.hello


async def _read(term: Term, session: sessions.Session, messages: AsyncIterator[propeller_pb2.ExecutorMessage]) -> None:
    try:
        async for message in messages:
            term.sessions.receive(session, message)
    except AirscrewError as error:
        logger.warning("the session of executor %s ends: %s", session.executor, error.message)
    finally:
        session.outbox.close()


async def _write(session: sessions.Session, context: Any) -> None:
    async for batch in session.outbox:
        message = propeller_pb2.LeaderMessage()
        for item in batch:
            message.MergeFrom(item)
        await context.write(message)
