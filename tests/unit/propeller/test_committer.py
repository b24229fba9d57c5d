"""Group commit: who shares a transaction, and what follows from its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from libs.runtime.clock import SystemClock
from libs.workflow.errors import AirscrewError, Fenced, KeyTaken, Refused, Unavailable
from libs.workflow.state import Changes
from services.propeller.committer import Committer
from services.propeller.pending import Pending
from tests.support.graphs import Plan, Step, state_of

PLAN = Plan((Step("n0"),))


class Store:
    """Stores keys in a list; fails as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.quarantined: list[int] = []
        self.refused: set[int] = set()
        self.refusal: AirscrewError = Refused("a row is refused")
        self.error: AirscrewError | None = None
        self.epochs: list[int] = []
        self.renewals = 0
        self.away = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        keys = [changes.execution.key for changes in batch]
        if self.refused.intersection(keys):
            raise self.refusal
        self.batches.append(keys)
        self.epochs.append(epoch)

    async def renew(self, shard: int) -> int:
        self.renewals += 1
        if self.renewals <= self.away:
            raise Unavailable("away")
        return 1 + self.renewals

    async def quarantine(self, shard: int, epoch: int, key: int, reason: str, now_us: int) -> None:
        self.quarantined.append(key)


@dataclass(slots=True)
class Logged(Pending):
    """A turn that says in a log what has become of it."""

    log: list[object] = field(default_factory=list)

    @property
    def key(self) -> int:
        return self.changes.execution.key


def committed(batch: Sequence[Logged]) -> None:
    for each in batch:
        each.log.append(each.key)


def uncommitted(turn: Logged, error: AirscrewError) -> None:
    turn.log.append((turn.key, type(error)))


@asynccontextmanager
async def running(store: Store, leading: Callable[[], bool] = lambda: True) -> AsyncIterator[Committer[Logged]]:
    committer = Committer(
        store,  # type: ignore[arg-type]  # as much of it as a committer uses
        0,
        1,
        SystemClock(),
        max_rows=100,
        busy=lambda: False,
        leading=leading,
        on_batch=lambda *_: None,
        committed=committed,
        uncommitted=uncommitted,
    )
    task = asyncio.create_task(committer.run(), name="committer")
    try:
        yield committer
    finally:
        task.cancel()
        await asyncio.wait([task])


def pending(key: int, log: list[object]) -> Logged:
    return Logged(Changes(state_of(PLAN, key=key), execution_changed=True), started_us=0, rows=1, log=log)


async def test_turns_that_end_while_a_batch_is_written_share_the_next_one() -> None:
    store, log = Store(), []
    async with running(store) as committer:
        store.gate.clear()
        committer.submit(pending(1, log))
        await asyncio.sleep(0.01)
        for key in (2, 3, 4):
            committer.submit(pending(key, log))
        store.gate.set()
        await committer.drained()
    assert store.batches == [[1], [2, 3, 4]]
    assert log == [1, 2, 3, 4]


async def test_a_refused_row_quarantines_its_execution_and_no_other() -> None:
    store, log = Store(), []
    store.refused = {2}
    async with running(store) as committer:
        for key in (1, 2, 3):
            committer.submit(pending(key, log))
        await committer.drained()
    assert store.batches == [[1], [3]]
    assert store.quarantined == [2]
    assert set(log) == {1, 3, (2, Refused)}


async def test_a_key_that_is_taken_only_gives_the_turn_back() -> None:
    store, log = Store(), []
    store.refused, store.refusal = {2}, KeyTaken("the key of a new child is somebody else's")
    async with running(store) as committer:
        for key in (1, 2, 3):
            committer.submit(pending(key, log))
        await committer.drained()
    assert store.batches == [[1], [3]]
    assert store.quarantined == []
    assert set(log) == {1, 3, (2, KeyTaken)}


async def test_an_unknown_outcome_is_told_to_every_turn_of_the_batch_and_the_committer_goes_on() -> None:
    store, log = Store(), []
    async with running(store) as committer:
        store.error = Unavailable("away")
        committer.submit(pending(1, log))
        committer.submit(pending(2, log))
        await committer.drained()
        store.error = None
        committer.submit(pending(3, log))
        await committer.drained()
    assert log == [(1, Unavailable), (2, Unavailable), 3]


async def test_nobody_hears_of_an_unknown_outcome_before_the_epoch_is_raised() -> None:
    store, log = Store(), []
    store.away = 2
    async with running(store) as committer:
        store.error = Unavailable("away")
        committer.submit(pending(1, log))
        await asyncio.sleep(0.02)
        assert log == []
        store.error = None
        await committer.drained()
        assert log == [(1, Unavailable)]
        committer.submit(pending(2, log))
        await committer.drained()
    assert store.renewals == 3
    assert store.epochs == [4]


async def test_nothing_follows_from_a_commit_that_ends_after_the_lease_may_have_expired() -> None:
    store, log = Store(), []
    still = True

    async with running(store, lambda: still) as committer:
        store.gate.clear()
        committer.submit(pending(1, log))
        await asyncio.sleep(0.01)
        still = False
        store.gate.set()
        await asyncio.sleep(0.01)
    assert store.batches == [[1]]
    assert log == [(1, Fenced)]


async def test_being_fenced_ends_the_committer() -> None:
    store, log = Store(), []
    store.error = Fenced("somebody else leads")
    committer = Committer(
        store,  # type: ignore[arg-type]
        0,
        1,
        SystemClock(),
        max_rows=100,
        busy=lambda: False,
        leading=lambda: True,
        on_batch=lambda *_: None,
        committed=committed,
        uncommitted=uncommitted,
    )
    committer.submit(pending(1, log))
    with pytest.raises(Fenced):
        await committer.run()
    assert log == [(1, Fenced)]
    assert committer.fenced == 1
