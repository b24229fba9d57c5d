"""The executor's session for a shard: with whoever leads it, for as long as it leads, then with the next.

Guaranteed: a shard has at most one session at a time, and the old one is closed before a new leader gets the snapshot.
A leader whose epoch is below the highest that was seen of its shard is left at once, so nothing it assigns is started
(promise P4). Attempts never notice: they go on while nobody leads, and their reports wait in the spool.

Every propeller says how many shards there are; each is dialled by itself. So a shard that moves ends its own session
and no other, even where one replica leads several: those are streams on the same connection.

Whom to dial: the leader that was named last, then the configured propellers in turn. A refusal that names a leader is
followed at once, but only one step: two propellers that point at each other must not make us spin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final

from libs.rpc.stream import Batcher
from libs.runtime.backoff import Backoff
from libs.wire.session import Draining, FromExecutor, Heartbeat, Hello, LeaderSays, NotLeader, Welcome
from libs.workflow import errors
from services.executor.api import Propellers
from services.executor.attempts import Attempts
from services.executor.disk import Disk
from services.executor.journal import Journal

logger = logging.getLogger(__name__)

# More reports than any executor can have running: reaching it means that the leader has stopped reading.
_OUTBOX_ITEMS: Final = 100_000

# A resigning leader is succeeded in under a second: whoever looks more rarely is what keeps the work waiting.
_DIAL_AGAIN_SECONDS: Final = (0.05, 1.0)


class _NotLeading(Exception):
    """The propeller does not lead. `address` is that of the leader it knows, or empty."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


@dataclass(frozen=True, slots=True)
class Desk:
    """What the sessions of an executor share."""

    addresses: tuple[str, ...]
    """Of the propellers."""
    propellers: Propellers
    attempts: Attempts
    journal: Journal
    disk: Disk
    introduction: Hello
    """Who we are; what a session has to add are its shard, its snapshot and the highest epoch."""
    dial_seconds: float


class Sessions:
    """One session for each shard, from the moment at which it is known that there is that shard."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._group: asyncio.TaskGroup | None = None
        self._sessions: list[Session] = []

    @property
    def leaders(self) -> int:
        """How many leaders have welcomed us and are still there."""
        return sum(session.led for session in self._sessions)

    async def run(self) -> None:
        """Never returns; ended by cancellation, which closes the sessions."""
        async with asyncio.TaskGroup() as self._group:
            self._expect(1)

    def _expect(self, shards: int) -> None:
        """There are so many shards."""
        assert self._group is not None
        for shard in range(len(self._sessions), shards):
            session = Session(self._desk, shard, self._expect, lambda: len(self._sessions))
            self._sessions.append(session)
            self._group.create_task(session.run(), name=f"session-{shard}")


class Session:
    """Dials the leader of a shard, serves, dials again, for ever."""

    def __init__(
        self, desk: Desk, shard: int, expect: Callable[[int], None], shards: Callable[[], int] = lambda: 1
    ) -> None:
        """`expect` is told how many shards there are, `shards` tells it."""
        self._shards = shards
        self._shard = shard
        self._expect = expect
        self._desk = desk
        self._attempts = desk.attempts
        self._journal = desk.journal
        self._backoff = Backoff(*_DIAL_AGAIN_SECONDS)
        self.led = False
        """Whether a leader has welcomed us and is still there."""

    async def run(self) -> None:
        """Never returns; ended by cancellation, which closes the session."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            for address in self._desk.addresses:
                named = await self._try(address)
                if named and named != address:
                    await self._try(named)
            # One that may lead soon takes its time to answer: who waits there need not wait here again.
            await asyncio.sleep(max(0.0, self._backoff.next() - (clock() - began)))

    async def _try(self, address: str) -> str:
        """Serves the leader at `address` until the session ends. Returns the leader's address if it names one."""
        try:
            await self._serve(address)
        except _NotLeading as answer:
            return answer.address
        except errors.Unavailable as error:
            logger.debug("no propeller at %s: %s", address, error)
        except (errors.AirscrewError, TimeoutError) as error:
            logger.warning("the session with %s ended: %s", address, str(error) or "no answer in time")
        return ""

    async def _serve(self, address: str) -> None:
        outbox: Batcher[FromExecutor] = Batcher(_OUTBOX_ITEMS)
        hello = self._hello(outbox)
        if self._attempts.draining:
            outbox.put(Draining())
        try:
            async with self._desk.propellers.session(address, _outgoing(hello, outbox)) as incoming:
                welcome = await self._welcomed(address, incoming)
                logger.info("session with %s: shard %d, epoch %d", address, welcome.shard, welcome.epoch)
                self._backoff.reset()
                self.led = True
                beating = asyncio.create_task(self._beat(welcome), name="heart-beat")
                try:
                    async for message in incoming:
                        self._obey(message)
                finally:
                    self.led = False
                    beating.cancel()
                    await asyncio.gather(beating, return_exceptions=True)
            logger.info("session with %s: ended by the propeller", address)
        finally:
            self._attempts.detach(self._shard)
            outbox.close()

    def _hello(self, outbox: Batcher[FromExecutor]) -> Hello:
        introduction = self._desk.introduction
        snapshot, offer = self._attempts.attach(self._shard, outbox)
        shards = self._shards()
        return replace(
            introduction,
            places=-(-introduction.places // shards),  # each leader has its part, for none knows of the others
            shard=self._shard,
            snapshot=snapshot,
            highest_epoch=self._journal.epoch(self._shard),
            offer=None if offer == introduction.capacity else offer,
        )

    async def _welcomed(self, address: str, incoming: AsyncIterator[LeaderSays]) -> Welcome:
        """The first answer, if it is a welcome from a leader that is not outdated."""
        async with asyncio.timeout(self._desk.dial_seconds):
            first = await anext(incoming, LeaderSays())
        if isinstance(first.verdict, NotLeader):
            self._expect(len(first.verdict.leaders))
            raise _NotLeading(self._leader_in(first.verdict))
        if first.verdict is None:
            raise errors.Unavailable("the session ended without an answer")
        welcome = first.verdict
        self._expect(welcome.shards)
        if welcome.shard != self._shard:
            raise errors.FailedPrecondition(f"{address} has answered for shard {welcome.shard}, not {self._shard}")
        highest = self._journal.epoch(welcome.shard)
        if welcome.epoch < highest:
            raise errors.FailedPrecondition(
                f"{address} leads shard {welcome.shard} in epoch {welcome.epoch}, but epoch {highest} has begun"
            )
        self._journal.raise_epoch(welcome.shard, welcome.epoch)
        self._obey(first)
        return welcome

    def _leader_in(self, answer: NotLeader) -> str:
        for leader in answer.leaders:
            if leader.shard == self._shard and (not leader.epoch or leader.epoch >= self._journal.epoch(self._shard)):
                return leader.address
        return ""

    async def _beat(self, welcome: Welcome) -> None:
        while True:
            self._attempts.say(self._shard, Heartbeat(self._desk.disk.free_bytes(), self._attempts.trouble()))
            self._attempts.send_again()
            self._attempts.write_again()
            self._attempts.offer_again(self._shard)
            await asyncio.sleep(welcome.heartbeat_us / 1_000_000 or 1.0)

    def _obey(self, message: LeaderSays) -> None:
        for spec in message.specs:
            self._attempts.specs.learn(self._shard, spec)
        for assignment in message.assignments:
            self._attempts.assign(self._shard, assignment)
        for stop in message.stops:
            self._attempts.stop(self._shard, stop)
        for ack in message.acks:
            self._attempts.acknowledge(ack)
        if message.demand is not None:
            self._attempts.ask(self._shard, message.demand)
        if message.drain is not None:
            self._attempts.drain_within(message.drain.grace_us / 1_000_000)


async def _outgoing(hello: Hello, outbox: Batcher[FromExecutor]) -> AsyncIterator[list[FromExecutor]]:
    yield [hello]
    async for batch in outbox:
        yield batch
