"""What waits, per shard, and who has which of it.

A shard's keys go to one stream at a time: that of the highest epoch which has opened it. A key that was handed out is
*leased*: it is not handed out again until the lease ends, by `done`, by `retry`, or because its stream ended or was
superseded, in which case the key waits again. A lease number is never used twice, not even by the next process of this
service, so that nothing said about an old lease can be taken for one about a new lease.

Bound: `depth` keys wait, gather or are delayed, in all shards together; what is leased is bounded by the streams'
credits. A key that takes no place, because it collapses or is leased, is never refused, and keys that come back from a
lease are always taken.

A pause, of one shard or of all, those to come included, holds back what is handed out and nothing else. It ends by
itself.

Everything here is synchronous and belongs to one event loop. Times are microseconds on the monotonic clock.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from libs.runtime import together
from libs.workflow import errors
from libs.workqueue.bounded import RETRY_AFTER_US
from libs.workqueue.metrics import QueueMetrics
from services.queue.line import Key, Line, Shape

LONGEST_PAUSE_US = 7 * 24 * 3600 * 1_000_000
"""Nobody pauses for ever: whoever did may be gone."""

# However many credits a stream has, its keys leave in portions of a few milliseconds, so that the leader works at one
# while the next is made, and other streams have their turn in between.
_LEASES_AT_ONCE = 512


class Lease(NamedTuple):
    """A key that a stream has from now on."""

    number: int
    key: Key
    waited_us: int


class Wanted(NamedTuple):
    """A key that somebody asks attention for."""

    shard: int
    key: Key
    delay_us: int


@dataclass(slots=True)
class Counts:
    """What a shard has seen since the start."""

    added: int = 0
    collapsed: int = 0
    delivered: int = 0
    redelivered: int = 0


class Held(NamedTuple):
    """A key that a stream has, and since when."""

    key: Key
    since_us: int


class WorkStream:
    """One leader's claim on the keys of a shard, while it is open.

    `ended` tells why it was ended from this side, None while it was not.
    """

    def __init__(self, shard: Shard, epoch: int, propeller: str) -> None:
        self._shard = shard
        self.epoch = epoch
        self.propeller = propeller
        self.ended: errors.AirscrewError | None = None
        self._credits = 0
        self._leases: dict[int, tuple[Key, int]] = {}
        """By number, the key and since when."""
        self._news = asyncio.Event()

    @property
    def leased(self) -> int:
        """How many leases are outstanding."""
        return len(self._leases)

    @property
    def leases(self) -> Iterable[tuple[int, Held]]:
        """By number, the oldest first."""
        return ((number, Held(*held)) for number, held in self._leases.items())

    @property
    def paused_until_us(self) -> int | None:
        """Until when nothing will be handed out; None when nothing holds it back."""
        return self._shard.queue.paused_until_us

    def add_credits(self, credits: int) -> None:
        """Lets so many more leases be outstanding."""
        self._credits += credits
        self._news.set()

    def take(self, now_us: int) -> list[Lease]:
        """Leases everything that is due, as far as the credits allow. Raises `ended` when it is set."""
        if self.ended is not None:
            raise self.ended
        self._news.clear()
        room = min(self._credits - len(self._leases), _LEASES_AT_ONCE)
        leases = self._shard.hand_out(room, now_us)
        held = self._leases
        for number, key, _ in leases:
            held[number] = (key, now_us)
        return leases

    def done(self, number: int, now_us: int) -> None:
        """Ends a lease: its key is dealt with. A lease that is not ours, or no longer, is ignored."""
        self.all_done((number,), now_us)

    def all_done(self, numbers: Iterable[int], now_us: int) -> None:
        """Ends leases as `done` does."""
        take, forget, end = self._leases.pop, self._shard.queue.forget, self._shard.queue.done
        for number in numbers:
            held = take(number, None)
            if held is not None:
                key = held[0].key
                forget(key, now_us)
                end(key, now_us)
        self._news.set()

    def retry(self, number: int, after_us: int, now_us: int) -> None:
        """Ends a lease: its key waits again, after a delay, or longer if the limiter says so. A lease that is not ours,
        or no longer, is ignored."""
        held = self._leases.pop(number, None)
        if held is not None:
            key, _ = held
            self._shard.queue.done(key.key, now_us)
            self._shard.queue.come_back(key, after_us, now_us)
            self._news.set()

    async def wait(self, now_us: int) -> None:
        """Returns when `take` may give something, at the latest when the next delayed key is due."""
        due_us = self._shard.queue.next_due_us() if self._credits > len(self._leases) else None
        if due_us is None:
            await self._news.wait()
        else:
            await together.within(max(due_us - now_us, 0) / 1e6, self._news.wait())

    def wake(self) -> None:
        """Something has come that could be taken."""
        self._news.set()

    def end(self, why: errors.AirscrewError, now_us: int) -> None:
        """Takes all leases back, and lets nothing be taken any more."""
        if self.ended is not None:
            return
        self.ended = why
        self._shard.take_back((key for key, _ in self._leases.values()), now_us)
        self._leases.clear()
        self._news.set()


class Shard:
    """The keys of one shard."""

    def __init__(
        self,
        number: int,
        lease_numbers: Iterator[int],
        shape: Shape | None = None,
        metrics: QueueMetrics[int] | None = None,
    ) -> None:
        """Without a shape its queue is simple."""
        self.number = number
        self.queue = Line(shape or Shape(), metrics)
        self.counts = Counts()
        self.epoch = 0
        """The highest epoch that has opened this shard; 0 when none has."""
        self.stream: WorkStream | None = None
        self._lease_numbers = lease_numbers
        self._returned: set[int] = set()
        """Keys whose stream broke: their next lease is a redelivery."""

    @property
    def depth(self) -> int:
        """How many keys nobody has."""
        return self.queue.depth

    def add(self, key: Key, delay_us: int, now_us: int) -> bool:
        """Takes a key in. Returns whether it did not wait already."""
        new = self.queue.enqueue(key, delay_us, now_us)
        self.counts.added += 1
        self.counts.collapsed += not new
        if self.stream is not None:
            self.stream.wake()
        return new

    def pause(self, until_us: int, now_us: int) -> None:
        """Hands nothing out before `until_us`, which is to come."""
        self.queue.pause(until_us, now_us)
        if self.stream is not None:
            self.stream.wake()

    def resume(self) -> None:
        """Ends the pause, if there is one."""
        self.queue.resume()
        if self.stream is not None:
            self.stream.wake()

    def open(self, epoch: int, propeller: str, now_us: int) -> WorkStream:
        """A new stream for this shard; ends the one before it.

        Raises:
            FailedPrecondition: a higher epoch has opened the shard: whoever asks does not lead it any more.
        """
        if epoch < self.epoch:
            raise self._superseded(epoch)
        self.epoch = epoch
        if self.stream is not None:
            lower = self.stream.epoch < epoch
            again = errors.Unavailable(f"{propeller} has opened shard {self.number} again, at the same epoch")
            self.stream.end(self._superseded(self.stream.epoch) if lower else again, now_us)
        self.stream = WorkStream(self, epoch, propeller)
        return self.stream

    def close(self, stream: WorkStream, now_us: int) -> None:
        """The stream has broken or finished; its keys wait again."""
        stream.end(errors.Unavailable("the stream was closed"), now_us)
        if self.stream is stream:
            self.stream = None

    def hand_out(self, room: int, now_us: int) -> list[Lease]:
        """Leases due keys, at most `room` of them."""
        leases: list[Lease] = []
        get, numbers, returned = self.queue.get, self._lease_numbers, self._returned
        while len(leases) < room and (handed := get(now_us)) is not None:
            item, waited_us = handed
            if returned and item.key in returned:
                returned.discard(item.key)
                self.counts.redelivered += 1
            leases.append(Lease(next(numbers), item, waited_us))
        self.counts.delivered += len(leases)
        return leases

    def take_back(self, keys: Iterable[Key], now_us: int) -> None:
        """Lets keys wait again whose leases were lost."""
        for key in keys:
            self.queue.done(key.key, now_us)
            self.queue.add(key, now_us)
            self._returned.add(key.key)
        if self.stream is not None:
            self.stream.wake()

    def _superseded(self, epoch: int) -> errors.FailedPrecondition:
        return errors.FailedPrecondition(
            f"epoch: shard {self.number} has been opened with epoch {self.epoch}, {epoch} is over"
        )


class Shards:
    """All shards that anybody has named.

    Args:
        depth: how many keys may wait, gather or be delayed in all.
        first_lease: number of the first lease; higher than any that an earlier process has given out.
        shape: of what kind their queues are; simple when None.
        retry_after_us: the hint for whoever is refused.
        observe: makes what counts for a shard, where it does more than that.
    """

    def __init__(
        self,
        depth: int,
        first_lease: int,
        shape: Shape | None = None,
        *,
        retry_after_us: int = RETRY_AFTER_US,
        observe: Callable[[int], QueueMetrics[int]] | None = None,
    ) -> None:
        self.limit = depth
        self._shape = shape or Shape()
        self._retry_after_us = retry_after_us
        self._observe = observe
        self.refused = 0
        """How often there was no room."""
        self._all_paused_until_us: int | None = None
        """For shards to come."""
        self._shards: dict[int, Shard] = {}
        self._lease_numbers = itertools.count(first_lease)

    def __iter__(self) -> Iterator[Shard]:
        return iter(sorted(self._shards.values(), key=lambda shard: shard.number))

    def __getitem__(self, number: int) -> Shard:
        shard = self._shards.get(number)
        if shard is None:
            shard = self._shards[number] = Shard(
                number, self._lease_numbers, self._shape, self._observe(number) if self._observe else None
            )
            if self._all_paused_until_us is not None:
                shard.pause(self._all_paused_until_us, 0)
        return shard

    @property
    def depth(self) -> int:
        """How many keys nobody has, in all shards."""
        return sum(shard.depth for shard in self._shards.values())

    def pause(self, number: int | None, ttl_us: int, now_us: int) -> None:
        """Hands nothing out for so long, of one shard or (None) of all; replaces the pause before.

        Raises:
            InvalidArgument: a pause for ever, or for no time.
        """
        if not 0 < ttl_us <= LONGEST_PAUSE_US:
            days = LONGEST_PAUSE_US // (24 * 3600 * 1_000_000)
            raise errors.InvalidArgument(f"ttl_us: {ttl_us} must be positive and no more than {days} days")
        if number is not None:
            self[number].pause(now_us + ttl_us, now_us)
            return
        self._all_paused_until_us = now_us + ttl_us
        for shard in self._shards.values():
            shard.pause(now_us + ttl_us, now_us)

    def resume(self, number: int | None) -> None:
        """Ends the pause of one shard or (None) of all, if there is one."""
        if number is not None:
            self[number].resume()
            return
        self._all_paused_until_us = None
        for shard in self._shards.values():
            shard.resume()

    def add(self, wanted: Iterable[tuple[int, Key, int]], now_us: int) -> None:
        """Takes keys in, in their order: the fields of `Wanted`.

        Raises:
            ResourceExhausted: as many keys wait as may. Those before the one too many are in.
        """
        room = self.limit - self.depth
        shard: Shard | None = None
        for number, key, delay_us in wanted:
            if shard is None or shard.number != number:
                shard = self[number]
            takes_place = shard.queue.takes_place(key.key, delay_us)
            if takes_place and room <= 0:
                self.refused += 1
                raise errors.ResourceExhausted(
                    f"{self.limit} keys wait in the queue: it takes no more; try again in "
                    f"{self._retry_after_us / 1e6:g} s",
                    retry_after_us=self._retry_after_us,
                )
            shard.add(key, delay_us, now_us)
            room -= takes_place
