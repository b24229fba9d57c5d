"""What explains an execution, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.stories import Stories
from libs.workflow.phases import AttemptPhase, NodePhase
from libs.workflow.state import AttemptState, Changes, ExecutionState, NodeState, RecordedEvent
from tests.support import stored


@pytest_asyncio.fixture
async def execution(engine: AsyncEngine) -> AsyncIterator[ExecutionState]:
    executions = Executions(engine)
    record = stored.record(7, "told")
    await executions.create(record)
    yield record.execution
    await executions.close()


def commit(
    ledger: Ledger,
    execution: ExecutionState,
    nodes: list[NodeState] | None = None,
    attempts: list[AttemptState] | None = None,
    events: list[RecordedEvent] | None = None,
) -> None:
    changes = Changes(execution, events=events or [])
    changes.nodes = {node.id: node for node in nodes or []}
    changes.attempts = {(attempt.node_id, attempt.attempt): attempt for attempt in attempts or []}
    ledger.commit(0, 1, [changes])


def attempt(node_id: str, placed: int | None, started: int | None, ended: int | None) -> AttemptState:
    phase = AttemptPhase.SUCCEEDED if ended is not None else AttemptPhase.RUNNING
    return AttemptState(node_id, 0, phase, 1, "e1", "life", placed, started, ended)


async def kinds(stories: Stories, node_id: str = "") -> list[tuple[int, str]]:
    return [(event.at_us, event.kind) for event in (await stories.events(7, Query(), node_id)).items]


async def test_what_happens_at_one_moment_is_told_as_one_follows_from_the_other(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    recorded = [RecordedEvent(10, "ExecutionStarted"), RecordedEvent(30, "ExecutionSucceeded")]
    commit(ledger, execution, attempts=[attempt("n0", 10, 20, 30)], events=recorded)
    assert await kinds(Stories(engine)) == [
        (10, "ExecutionStarted"),
        (10, "AttemptPlaced"),
        (20, "AttemptStarted"),
        (30, "AttemptSucceeded"),
        (30, "ExecutionSucceeded"),
    ]


async def test_an_attempt_that_takes_no_time_still_begins_before_it_ends(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    commit(ledger, execution, attempts=[attempt("n0", 10, 20, 20), attempt("n1", 10, None, 10)])
    stories = Stories(engine)
    assert await kinds(stories, "n0") == [(10, "AttemptPlaced"), (20, "AttemptStarted"), (20, "AttemptSucceeded")]
    assert await kinds(stories, "n1") == [(10, "AttemptPlaced"), (10, "AttemptSucceeded")]


async def test_what_holds_open_nodes_is_not_among_them(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    nodes = [
        stored.node("n0", NodePhase.RUNNING),
        stored.node("n0-0-n0", NodePhase.RUNNING, parent_id="n0"),
        stored.node("n0-0-n1", NodePhase.SUCCEEDED, parent_id="n0"),
        stored.node("n1", NodePhase.QUEUED),
        stored.node("n1-0-n0", NodePhase.SUCCEEDED, parent_id="n1"),
        stored.node("n2", NodePhase.SUCCEEDED),
    ]
    commit(ledger, execution, nodes=nodes)
    stories = Stories(engine)
    assert {node.id for node in await stories.open_nodes(7, 10)} == {"n0-0-n0", "n1"}
    assert [node.id for node in await stories.open_nodes(7, 10, below="n0")] == ["n0-0-n0"]
    assert len(await stories.open_nodes(7, 1)) == 1
    assert await stories.count_open(7) == 3


async def test_the_first_failure_of_each_level_is_found(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    nodes = [
        stored.node("n0", NodePhase.FAILED, ended_at_us=9),
        stored.node("n1", NodePhase.FAILED, ended_at_us=5),
        stored.node("n1-0-n0", NodePhase.FAILED, parent_id="n1", ended_at_us=4),
    ]
    commit(ledger, execution, nodes=nodes)
    stories = Stories(engine)
    found = [await stories.first_failed(7, parent) for parent in ("", "n1", "n0")]
    assert [node and node.id for node in found] == ["n1", "n1-0-n0", None]


async def test_the_last_claim_of_a_shard_is_known(ledger: Ledger, engine: AsyncEngine) -> None:
    stories = Stories(engine)
    leader = await stories.leader(0)
    assert leader is not None
    assert (leader.holder, leader.address, leader.claimed_at_us) == ("a", "a:1", 77)
    assert await stories.leader(1) is None
