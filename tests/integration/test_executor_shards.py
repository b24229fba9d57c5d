"""The executor and the leaders of several shards: each hears what is its own, and all have their part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from protos import executor_pb2, propeller_pb2
from tests.support.executing import executing, shell
from tests.support.leader import Assignments, ExecutorSession, Leader


@pytest.fixture
async def other(leader: Leader) -> AsyncIterator[Leader]:
    """The leader of shard 1; `leader` is that of shard 0."""
    another = await Leader(shard=1, epoch=5).start()
    leader.others, another.others = [another], [leader]
    yield another
    await another.stop()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Assignments:
    """Of an execution of shard 1."""
    return Assignments(str(tmp_path / "blob"), execution=2)


@pytest.fixture
def knows_one(leader: Leader, executor_settings: dict[str, Any]) -> dict[str, Any]:
    """It is told of one propeller; from that it hears of the other."""
    return executor_settings | {"propellers": (leader.address,), "cpu_millis": 4000, "memory_bytes": 8 << 30}


def executions_of(session: ExecutorSession) -> set[int]:
    return {report.id.execution for report in session.reports}


async def test_each_leader_hears_of_its_own_attempts_and_all_hear_that_it_drains(
    leader: Leader, other: Leader, knows_one: dict[str, Any], work: Assignments, elsewhere: Assignments
) -> None:
    mine, its = work.of(shell("true")), elsewhere.of(shell("true"), shard=1)
    async with executing(knows_one):
        first, second = await leader.session(), await other.session()
        first.assign(mine)
        second.assign(its)
        await first.final(mine[0].id)
        await second.final(its[0].id)
        first.send(propeller_pb2.LeaderMessage(drain=propeller_pb2.Drain(grace_us=60_000_000)))
        await first.until(lambda: first.draining, "draining, to whom asked for it")
        await second.until(lambda: second.draining, "draining, to the other")
        assert (executions_of(first), executions_of(second)) == ({1}, {2})
    assert {(hello.shard, hello.highest_epoch) for hello in leader.hellos} == {(0, 0), (1, 0)}


async def test_what_is_spooled_goes_to_the_next_leader_of_its_shard_after_a_restart_too(
    leader: Leader, other: Leader, knows_one: dict[str, Any], elsewhere: Assignments
) -> None:
    other.acknowledges = False
    its = elsewhere.of(shell("true"), shard=1)
    knows_one["flush_seconds"] = 0.1
    async with executing(knows_one):
        second = await other.session()
        second.assign(its)
        await second.final(its[0].id)
    async with executing(knows_one):
        await leader.session()
        await leader.session()
        again = await other.session()
        assert [report.id for report in again.hello.snapshot] == [its[0].id]
        assert again.hello.highest_epoch == other.epoch
    own = [hello for hello in leader.hellos if hello.shard == 0]
    assert not any(hello.snapshot for hello in own)


async def test_a_shard_that_moves_leaves_the_session_of_the_other_as_it_is(
    leader: Leader, other: Leader, knows_one: dict[str, Any], work: Assignments, elsewhere: Assignments
) -> None:
    mine, its = work.of(shell("sleep 1")), elsewhere.of(shell("sleep 1"), shard=1)
    async with executing(knows_one):
        first, second = await leader.session(), await other.session()
        first.assign(mine)
        second.assign(its)
        await first.running(mine[0].id)
        await second.running(its[0].id)
        successor = await Leader(shard=1, epoch=6, others=[leader]).start()
        try:
            leader.others = [successor]
            await other.stop()
            third = await successor.session()
            assert [report.id for report in third.hello.snapshot] == [its[0].id]
            assert (await third.final(its[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
            await first.final(mine[0].id)
            assert not first.closed.is_set() and executions_of(first) == {1}
        finally:
            await successor.stop()


async def test_two_leaders_that_want_everything_are_offered_half_and_one_alone_everything(
    leader: Leader, other: Leader, knows_one: dict[str, Any], work: Assignments
) -> None:
    async with executing(knows_one):
        first, second = await leader.session(), await other.session()
        assert first.offer.cpu_millis == second.offer.cpu_millis == 4000
        first.demand(1, 100)
        second.demand(1, 100)
        for session in (first, second):
            await session.until(lambda session=session: session.offer.cpu_millis == 2000, "half is offered")
        held = work.of(shell("sleep 60"), resources=executor_pb2.Resources(cpu_millis=1000))
        first.assign(held)
        await first.running(held[0].id)
        first.demand(0, 0)
        await second.until(lambda: second.offer.cpu_millis == 3000, "what nobody else wants or has")
        first.stop(held[0].id)
        await second.until(lambda: second.offer.cpu_millis == 4000, "all of it")


async def test_an_assignment_that_comes_too_late_for_its_slots_is_rejected_and_told_what_is_left(
    leader: Leader, other: Leader, knows_one: dict[str, Any], work: Assignments, elsewhere: Assignments
) -> None:
    large = executor_pb2.Resources(cpu_millis=3000)
    mine, its = work.of(shell("sleep 60"), resources=large), elsewhere.of(shell("true"), resources=large, shard=1)
    async with executing(knows_one):
        first, second = await leader.session(), await other.session()
        first.assign(mine)
        await first.running(mine[0].id)
        second.assign(its)
        report = await second.final(its[0].id)
        assert report.phase == executor_pb2.Report.PHASE_REJECTED and "no free slot" in report.reason
        await second.until(lambda: second.offer.cpu_millis == 1000, "what is left")
        first.stop(mine[0].id)
        await first.final(mine[0].id)
