"""Killing a leader and watching the next one: what is told, in which order, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from libs.clients.propeller import Status
from libs.store.records import LeaderRow
from libs.workflow.errors import (
    AirscrewError,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from services.admin.takeover import Step, TakeOvers, What

FIRST = LeaderRow(0, 3, "etcd", 10, "p1", "a:1", 0)
SECOND = replace(FIRST, epoch=4, create_revision=20, holder="p2", address="a:2")
THIRD = replace(SECOND, epoch=5, create_revision=30, holder="p3", address="a:3")
BEGAN_US = 1_000_000_000
"""By the leader's own clock, which is not that of whoever watches."""
PATIENCE_US = 6_000_000


def leading(*, commit: int = 0, warm: int = 0, executions: int = 2) -> Status:
    """What a leader says, `commit` and `warm` microseconds after its claim."""
    moments = {"first_commit_us": BEGAN_US + commit if commit else 0, "synced_us": BEGAN_US + warm if warm else 0}
    return Status(leading=True, began_us=BEGAN_US, executions=executions, **moments)


@dataclass
class World:
    """Rows, propellers and time, all of which stand still but for what a test says of each look."""

    looks: Sequence[Callable[[World], None]] = ()
    """What happens before each look at the rows once the leader is dead; the last one again and again."""
    shards: int = 1

    def __post_init__(self) -> None:
        self.rows: dict[int, LeaderRow | AirscrewError] = {0: FIRST}
        self.statuses: dict[str, Status] = {}
        self.refusal: AirscrewError | None = None
        self.killed: list[tuple[str, int, int]] = []
        self.seconds = 0.0
        self._looked = 0

    async def leader(self, shard: int) -> LeaderRow | None:
        if self.killed and self.looks and shard == 0:
            self.seconds += 0.5
            self.looks[min(self._looked, len(self.looks) - 1)](self)
            self._looked += 1
        row = self.rows.get(shard)
        if isinstance(row, AirscrewError):
            raise row
        return row

    async def die(self, address: str, shard: int, epoch: int) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.killed.append((address, shard, epoch))

    async def status(self, address: str, shard: int, attempts: Sequence[Any]) -> Status | None:
        return self.statuses.get(address)

    def monotonic(self) -> float:
        return self.seconds

    def now_us(self) -> int:
        return 0

    async def steps(self, shard: int = 0) -> list[Step]:
        made = TakeOvers(self, self, self.shards, self)  # type: ignore[arg-type]
        return [step async for step in made.of_killed_leader(shard, PATIENCE_US)]


def nothing(world: World) -> None:
    """Nobody leads yet."""


def succeeded(row: LeaderRow = SECOND, status: Status | None = None) -> Callable[[World], None]:
    def happen(world: World) -> None:
        world.rows[row.shard] = row
        if status is not None:
            world.statuses[row.address] = status

    return happen


def told(steps: Sequence[Step]) -> list[tuple[What, int, str]]:
    return [(step.what, step.after_us, step.leader.holder) for step in steps]


async def test_the_steps_of_a_take_over_are_told_with_their_times() -> None:
    world = World([nothing, succeeded(status=None), succeeded(status=leading(commit=30_000, warm=90_000))])
    steps = await world.steps()
    assert told(steps) == [
        (What.KILLED, 0, "p1"),
        (What.CLAIMED, 1_000_000, "p2"),
        (What.COMMITTED, 1_030_000, "p2"),
        (What.WARM, 1_090_000, "p2"),
    ]
    assert world.killed == [("a:1", 0, 3)] and steps[-1].executions == 2


async def test_a_commit_that_comes_when_all_are_warm_is_told_too() -> None:
    world = World([succeeded(status=leading(warm=10)), succeeded(status=leading(warm=10, commit=700_000))])
    assert told(await world.steps())[1:] == [
        (What.CLAIMED, 500_000, "p2"),
        (What.WARM, 500_010, "p2"),
        (What.COMMITTED, 1_200_000, "p2"),
    ]


@pytest.mark.parametrize("executions", [0, 5])
async def test_a_leader_that_has_nothing_to_commit_is_not_waited_for_long(executions: int) -> None:
    world = World([succeeded(status=leading(warm=10, executions=executions))])
    assert [step.what for step in await world.steps()] == [What.KILLED, What.CLAIMED, What.WARM]
    assert world.seconds <= 4


async def test_another_epoch_of_the_same_leadership_is_no_take_over() -> None:
    """Epochs rise without another leader when the store was away."""
    world = World([succeeded(replace(FIRST, epoch=4)), succeeded(status=leading(commit=1, warm=1))])
    assert told(await world.steps())[1] == (What.CLAIMED, 1_000_000, "p2")


async def test_when_the_next_leader_is_lost_too_the_one_after_it_counts() -> None:
    world = World([succeeded(), nothing, succeeded(THIRD, leading(commit=5, warm=6))])
    assert told(await world.steps()) == [
        (What.KILLED, 0, "p1"),
        (What.CLAIMED, 500_000, "p2"),
        (What.CLAIMED, 1_500_000, "p3"),
        (What.COMMITTED, 1_500_005, "p3"),
        (What.WARM, 1_500_006, "p3"),
    ]


async def test_while_the_store_does_not_answer_one_looks_again() -> None:
    def away(world: World) -> None:
        world.rows[0] = Unavailable("the database is away")

    world = World([away, away, succeeded(status=leading(commit=1, warm=1))])
    assert [step.what for step in await world.steps()] == list(What)


async def test_all_shards_that_the_process_led_are_told_of_and_no_other() -> None:
    status = leading(commit=1, warm=2)

    def both(world: World) -> None:
        succeeded(status=status)(world)
        succeeded(replace(THIRD, shard=2), status)(world)

    world = World([nothing, both], shards=3)
    world.rows |= {1: replace(SECOND, shard=1), 2: replace(FIRST, shard=2, epoch=9)}
    steps = await world.steps()
    assert [(step.leader.shard, step.leader.epoch) for step in steps if step.what is What.KILLED] == [(0, 3), (2, 9)]
    assert {step.leader.shard: step.leader.holder for step in steps if step.what is What.WARM} == {0: "p2", 2: "p3"}


async def test_a_take_over_that_does_not_come_ends_in_an_error_that_says_so() -> None:
    world = World([nothing])
    with pytest.raises(DeadlineExceeded, match=r"nobody has taken over shard 0, [67] s after the kill"):
        await world.steps()
    world = World([succeeded(status=leading(commit=1))])
    with pytest.raises(DeadlineExceeded, match="p2 leads shard 0, but does not yet have all its executions in memory"):
        await world.steps()


@pytest.mark.parametrize(
    ("refusal", "error", "message"),
    [
        (PermissionDenied("this propeller may not be killed"), PermissionDenied, "may not be killed"),
        (FailedPrecondition("not here"), FailedPrecondition, "nobody leads shard 0 now: p1 at a:1, .* no longer"),
        (Unavailable("refused"), FailedPrecondition, r"nobody leads shard 0 now: p1 at a:1, .* answer \(refused\)"),
        (DeadlineExceeded("slow"), FailedPrecondition, "does not answer"),
    ],
)
async def test_who_cannot_be_killed_is_said(refusal: AirscrewError, error: type[AirscrewError], message: str) -> None:
    world = World()
    world.refusal = refusal
    with pytest.raises(error, match=message):
        await world.steps()


async def test_a_shard_that_does_not_exist_or_that_nobody_has_ever_led_is_said() -> None:
    world = World(shards=2)
    with pytest.raises(NotFound, match="there is no shard 2: there are 2"):
        await world.steps(2)
    with pytest.raises(FailedPrecondition, match="nobody leads shard 1: nobody ever has"):
        await world.steps(1)
    assert not world.killed
