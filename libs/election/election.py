"""Who leads a shard, decided by one etcd key under a lease.

Guaranteed, as long as etcd is correct and no machine's clock runs more than about a tenth too slow:

* At most one holder's `Leadership.deadline()` lies in the future. It is computed from the moment at which the last
  acknowledged keep-alive was *sent*, by the monotonic clock, minus a margin; so it passes before the lease can expire,
  whether or not etcd, the network or our own event loop is alive to tell us.
* `lost` is set when the deadline passes, or earlier if the lease turns out to be gone. It is set once and for good.
* `create_revision` is higher for every later leadership of the key within one etcd cluster, and `cluster_id` tells
  clusters apart: together they are the fencing token.
* An unknown outcome of the claim is resolved by reading back whose lease the key has, never assumed.

Not guaranteed, and therefore the business of the fence in the store (promise P2):

* That nobody acts as a leader any more. A process can be stopped between looking at the deadline and acting on it, a
  message can be late, a machine can be suspended (its monotonic clock stands still). A write that must not happen has
  to be conditional on the epoch that was claimed with `create_revision`.
* Fairness among candidates. Whoever looks first after the key is gone gets it; they look every 200 ms.

The end of leadership does not end the process: `campaign` again. Call `resign` when the work of a leader has stopped,
and not before: it lets the successor in at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Self, TypeVar

from libs.election.etcd import Access, Etcd, Reading
from libs.election.keeper import Held, Keeper
from libs.election.tenure import Tenure
from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock, SystemClock
from libs.workflow import errors

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SECONDS: Final = 0.2
"""How often a candidate looks whether the key is free."""

MINIMUM_TTL_SECONDS: Final = 2
"""etcd grants no shorter leases than one and a half of its own election time-outs."""

_MARGIN: Final = 1 / 5  # of the TTL: time to stop acting, and to spare for clocks of different speed
_CALL: Final = 1 / 6  # of the TTL: so that three tries fit between the first keep-alive and the deadline


class LeaderInfo(NamedTuple):
    """Who leads."""

    holder: str
    address: str
    """Where it serves."""
    create_revision: int


class _Won(NamedTuple):
    tenure: Tenure
    reading: Reading


class Leadership:
    """The right to act as the leader, for a while. Made by `Election.campaign`."""

    def __init__(self, election: Election, tenure: Tenure, reading: Reading) -> None:
        self._election = election
        self._tenure = tenure
        self._timer: asyncio.TimerHandle | None = None
        self.cluster_id = reading.cluster_id
        """Which etcd cluster gave it."""
        self.create_revision = reading.create_revision
        """Rises with every leadership of this key in this cluster."""
        self.lost = asyncio.Event()
        """Set when this is over, whatever the reason, `resign` included."""
        self._watch()

    def deadline(self) -> float:
        """Monotonic time until which this holds if nothing more is heard; minus infinity when over. Any thread."""
        return self._tenure.deadline()

    async def resign(self) -> None:
        """Ends this and lets a successor in at once. May be called again, and after the loss.

        When etcd is away the successor has to wait for the lease to expire; that is logged, not raised.
        """
        self._end()
        await self._election._release(self._tenure.lease_id)

    def _watch(self) -> None:
        """Looks again at each deadline. On the loop's timers, so that it needs no task and no news from etcd."""
        if self._tenure.end_if_due():
            self._lose("it was not renewed in time")
            return
        wait = self._tenure.deadline() - self._election._clock.monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(wait, 0.0), self._watch)

    def _lose(self, why: str) -> None:
        if not self.lost.is_set():
            logger.warning("%s leads %s no longer: %s", self._election.holder, self._election.key, why)
        self._end()

    def _end(self) -> None:
        self._tenure.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.lost.set()


class Election:
    """A candidate for one key, and an observer of it. Belongs to the event loop that uses it first.

    Args:
        endpoints: `host:port` of each etcd member, or an `Access` with certificates or a user.
        key: what is led, `/airscrew/shards/<n>/leader`.
        holder: who we are, for people and for the store's record.
        address: where we serve, for those who look for the leader.
        ttl_seconds: how long a leader that died is still the leader. Shorter is a quicker succession, and leadership
            lost to shorter hiccups of etcd; at least 2. etcd counts whole seconds: fractions are rounded up.
        clock: where time comes from.
    """

    def __init__(
        self,
        endpoints: Sequence[str] | Access,
        *,
        key: str,
        holder: str,
        address: str,
        ttl_seconds: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        if ttl_seconds < MINIMUM_TTL_SECONDS:
            raise ValueError(f"an etcd lease of {ttl_seconds} s is too short: at least {MINIMUM_TTL_SECONDS} s")
        access = endpoints if isinstance(endpoints, Access) else Access(tuple(endpoints))
        self.key = key
        self.holder = holder
        self.address = address
        self._ttl = math.ceil(ttl_seconds)
        self._margin = self._ttl * _MARGIN
        self._clock = clock or SystemClock()
        self._keeper = Keeper(Etcd(access, self._ttl * _CALL), self._ttl, self._margin, self._clock, f"election-{key}")
        self._leadership: Leadership | None = None
        self._last_lease: int | None = None
        """Of the latest attempt or leadership; it may still exist. Used in the keeper's thread only."""
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def campaign(self) -> Leadership:
        """Waits until we lead. Outlasts any trouble with etcd; cancelling it leaves nothing behind.

        Raises:
            FailedPrecondition: the server is too old, and such servers are to be refused.
            RuntimeError: we lead already, or the election is closed.
        """
        if self._leadership is not None and not self._leadership.lost.is_set():
            raise RuntimeError(f"{self.holder} leads {self.key} already")
        backoff = Backoff(LOOK_SECONDS, 1.0)
        while True:
            try:
                won = await self._attempt()
            except errors.Unavailable as error:
                logger.warning("%s cannot campaign for %s: %s", self.holder, self.key, error)
                await asyncio.sleep(backoff.next())
                continue
            if won is not None:
                return self._lead(won)
            backoff.reset()
            await asyncio.sleep(LOOK_SECONDS)

    async def leader(self) -> LeaderInfo | None:
        """Who leads now, None when nobody does. Raises Unavailable when etcd does not say."""
        mine = self._leadership
        if mine is not None and not mine.lost.is_set():
            return LeaderInfo(self.holder, self.address, mine.create_revision)
        reading = await self.ask(lambda etcd: etcd.read(self.key))
        return None if reading.value is None else info(reading)

    async def close(self) -> None:
        """Resigns if need be, and ends the thread. Takes no longer than a few of etcd's deadlines."""
        if self._closed:
            return
        if self._leadership is not None:
            await self._leadership.resign()
        self._closed = True
        await asyncio.to_thread(self._keeper.close)

    async def _attempt(self) -> _Won | None:
        loop = asyncio.get_running_loop()
        try:
            return await self.ask(lambda etcd: self._claim(etcd, loop))
        except asyncio.CancelledError:
            # The claim may be on its way, or won: this job comes after it.
            self._keeper.call(self._clean_up)
            raise

    def _lead(self, won: _Won) -> Leadership:
        self._leadership = Leadership(self, *won)
        logger.info("%s leads %s from revision %d", self.holder, self.key, won.reading.create_revision)
        return self._leadership

    async def ask(self, job: Callable[[Etcd], T]) -> T:
        """Has the election's thread ask etcd something. Raises Unavailable when etcd does not answer."""
        if self._closed:
            raise RuntimeError("the election is closed")
        return await asyncio.wrap_future(self._keeper.call(job))

    async def _release(self, lease_id: int) -> None:
        if self._closed:
            return
        try:
            await self.ask(lambda etcd: self._revoke(etcd, lease_id))
        except errors.AirscrewError as error:
            logger.warning("%s is free only when its lease expires: %s", self.key, error)

    # ------------------------------------------------------------------------------------------- in the keeper's thread

    def _claim(self, etcd: Etcd, loop: asyncio.AbstractEventLoop) -> _Won | None:
        """One attempt: a lease only when the key is free, the key under the lease, and a look at whose it is."""
        self._clean_up(etcd)
        if etcd.read(self.key).value is not None:
            return None
        sent = self._clock.monotonic()
        lease = etcd.grant(self._ttl)
        self._last_lease = lease.id
        self._put(etcd, lease.id)
        reading = etcd.read(self.key)
        tenure = Tenure(lease.id, sent + lease.ttl_seconds - self._margin, self._clock)
        if reading.lease_id != lease.id or tenure.end_if_due():
            self._clean_up(etcd)
            return None
        self._keeper.hold(Held(tenure, self.key, lambda why: self._tell_loss(loop, tenure, why)))
        return _Won(tenure, reading)

    def _put(self, etcd: Etcd, lease_id: int) -> None:
        value = json.dumps({"holder": self.holder, "address": self.address}).encode()
        try:
            etcd.put_if_absent(self.key, value, lease_id)
        except errors.Unavailable as error:
            logger.info("whether %s was claimed is unknown, reading back: %s", self.key, error)

    def _clean_up(self, etcd: Etcd) -> None:
        """Revokes what an earlier attempt or leadership may have left behind, so that we do not wait for ourselves."""
        if self._last_lease is not None:
            self._revoke(etcd, self._last_lease)
            self._last_lease = None

    def _revoke(self, etcd: Etcd, lease_id: int) -> None:
        self._keeper.let_go(lease_id)
        etcd.revoke(lease_id)

    def _tell_loss(self, loop: asyncio.AbstractEventLoop, tenure: Tenure, why: str) -> None:
        """Lets the loop know now what it would find out at the deadline."""

        def tell() -> None:
            if self._leadership is not None and self._leadership._tenure is tenure:
                self._leadership._lose(why)

        try:
            loop.call_soon_threadsafe(tell)
        except RuntimeError:
            logger.debug("the event loop ended before leadership of %s did", self.key)


def info(reading: Reading) -> LeaderInfo:
    """What a leader has written into its key. Raises Internal when it is something else."""
    try:
        value = json.loads(reading.value or b"")
        return LeaderInfo(str(value["holder"]), str(value["address"]), reading.create_revision)
    except (ValueError, KeyError, TypeError):
        raise errors.Internal(f"the leader's key holds something else: {reading.value!r}") from None
