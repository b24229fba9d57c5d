"""The executor's one session: with whoever leads, for as long as it leads, then with the next.

Guaranteed: there is at most one session at a time, and the old one is closed before a new leader gets the snapshot. A
leader whose epoch is below the highest that was seen is left at once, so nothing it assigns is started (promise P4).
Attempts never notice: they go on while nobody leads, and their reports wait in the spool.

Whom to dial: the leader that was named last, then the configured propellers in turn. A refusal that names a leader is
followed at once, but only one step: two propellers that point at each other must not make us spin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from libs.rpc.stream import Batcher
from libs.runtime.backoff import Backoff
from libs.wire.session import Draining, FromExecutor, Heartbeat, Hello, LeaderSays, NotLeader, Report, Welcome
from libs.workflow import errors
from services.executor.api import Propellers
from services.executor.attempts import Attempts
from services.executor.disk import Disk
from services.executor.journal import Journal

logger = logging.getLogger(__name__)

# More reports than any executor can have running: reaching it means that the leader has stopped reading.
_OUTBOX_ITEMS: Final = 100_000

# Reports of a busy executor leave at most this often; the first after a pause leaves at once.
_INTERVAL_SECONDS: Final = 0.02

# A resigning leader is succeeded in under a second: whoever looks more rarely is what keeps the work waiting.
_DIAL_AGAIN_SECONDS: Final = (0.05, 1.0)


class _NotLeading(Exception):
    """The propeller does not lead. `address` is that of the leader it knows, or empty."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


class Session:
    """Dials, serves, dials again, for ever. `hello` says who we are, given the snapshot and the highest epoch."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        propellers: Propellers,
        attempts: Attempts,
        journal: Journal,
        disk: Disk,
        hello: Callable[[tuple[Report, ...], int], Hello],
        dial_seconds: float,
    ) -> None:
        self._addresses = addresses
        self._propellers = propellers
        self._attempts = attempts
        self._journal = journal
        self._disk = disk
        self._hello = hello
        self._dial_seconds = dial_seconds
        self._backoff = Backoff(*_DIAL_AGAIN_SECONDS)
        self.leaders = 0
        """How many leaders have welcomed us and are still there."""

    async def run(self) -> None:
        """Never returns; ended by cancellation, which closes the session."""
        while True:
            for address in self._addresses:
                named = await self._try(address)
                if named and named != address:
                    await self._try(named)
            await asyncio.sleep(self._backoff.next())

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
        outbox: Batcher[FromExecutor] = Batcher(_OUTBOX_ITEMS, interval_seconds=_INTERVAL_SECONDS)
        hello = self._hello(self._attempts.attach(outbox), self._journal.only_epoch())
        if self._attempts.draining:
            outbox.put(Draining())
        try:
            async with self._propellers.session(address, _outgoing(hello, outbox)) as incoming:
                welcome = await self._welcomed(address, incoming)
                logger.info("session with %s: shard %d, epoch %d", address, welcome.shard, welcome.epoch)
                self._backoff.reset()
                self.leaders += 1
                beating = asyncio.create_task(self._beat(welcome), name="heart-beat")
                try:
                    async for message in incoming:
                        self._obey(message)
                finally:
                    self.leaders -= 1
                    beating.cancel()
                    await asyncio.gather(beating, return_exceptions=True)
            logger.info("session with %s: ended by the propeller", address)
        finally:
            self._attempts.detach()
            outbox.close()

    async def _welcomed(self, address: str, incoming: AsyncIterator[LeaderSays]) -> Welcome:
        """The first answer, if it is a welcome from a leader that is not outdated."""
        async with asyncio.timeout(self._dial_seconds):
            first = await anext(incoming, LeaderSays())
        if isinstance(first.verdict, NotLeader):
            raise _NotLeading(self._leader_in(first.verdict))
        if first.verdict is None:
            raise errors.Unavailable("the session ended without an answer")
        welcome = first.verdict
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
            if leader.address and leader.epoch >= self._journal.epoch(leader.shard):
                return leader.address
        return ""

    async def _beat(self, welcome: Welcome) -> None:
        while True:
            self._attempts.say(Heartbeat(self._disk.free_bytes(), self._attempts.trouble()))
            self._attempts.send_again()
            self._attempts.write_again()
            await asyncio.sleep(welcome.heartbeat_us / 1_000_000 or 1.0)

    def _obey(self, message: LeaderSays) -> None:
        for spec in message.specs:
            self._attempts.learn(spec)
        for assignment in message.assignments:
            self._attempts.assign(assignment)
        for stop in message.stops:
            self._attempts.stop(stop)
        for ack in message.acks:
            self._attempts.acknowledge(ack)
        if message.drain is not None:
            self._attempts.drain_within(message.drain.grace_us / 1_000_000)


async def _outgoing(hello: Hello, outbox: Batcher[FromExecutor]) -> AsyncIterator[list[FromExecutor]]:
    yield [hello]
    async for batch in outbox:
        yield batch
