"""Executions as trees, on both databases: arrays are counted, what they refer to is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.trees import FAILED_ITEMS, Source, Trees
from libs.workflow.phases import AttemptPhase, CacheStatus, NodeKind, NodePhase
from libs.workflow.state import AttemptState, CacheEntry, Changes, Data, ExecutionState, NodeState
from tests.support import stored

KEY = b"k" * 32


@pytest_asyncio.fixture
async def execution(engine: AsyncEngine) -> AsyncIterator[ExecutionState]:
    executions = Executions(engine)
    record = stored.record(7, "forest")
    await executions.create(record)
    yield record.execution
    await executions.close()


def commit(ledger: Ledger, execution: ExecutionState, nodes: list[NodeState], attempts: list[AttemptState]) -> None:
    changes = stored.with_nodes(execution, *nodes)
    changes.attempts = {(attempt.node_id, attempt.attempt): attempt for attempt in attempts}
    ledger.commit(0, 1, [changes])


def array(id: str = "n0") -> NodeState:
    return stored.node(id, kind=NodeKind.ARRAY, task=None)


def item(index: int, phase: NodePhase, array_id: str = "n0", **changed: Any) -> NodeState:
    return stored.node(f"{array_id}-0-n{index}", phase, spec_id=f"n{index}", parent_id=array_id, **changed)


async def test_items_and_what_is_below_them_are_counted_and_not_listed(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    items = [*(item(index, NodePhase.SUCCEEDED) for index in range(12)), item(12, NodePhase.RUNNING)]
    below = stored.node("n0-0-n3-0-n1", NodePhase.SUCCEEDED, parent_id="n0-0-n3")
    beside = [stored.node("n00"), stored.node("n1"), stored.node("n1-0-n0", parent_id="n1")]
    attempts = [stored.attempt(node.id) for node in (*items, below, *beside)]
    commit(ledger, execution, [array(), *items, below, *beside], attempts)
    tree = await Trees(engine).tree(7)

    assert {node.id for node in tree.nodes} == {"n0", "n00", "n1", "n1-0-n0"}
    assert {attempt.node_id for attempt in tree.attempts} == {"n00", "n1", "n1-0-n0"}
    assert tree.items == {"n0": {NodePhase.SUCCEEDED: 12, NodePhase.RUNNING: 1}}


async def test_the_first_failed_items_are_listed_with_their_attempts(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    failed = [item(index, NodePhase.FAILED, ended_at_us=1_000 - index) for index in range(FAILED_ITEMS + 5)]
    attempts = [stored.attempt(node.id, phase=AttemptPhase.FAILED) for node in failed]
    commit(ledger, execution, [array(), *failed], attempts)
    tree = await Trees(engine).tree(7)

    first = {node.id for node in failed[5:]}
    assert {node.id for node in tree.nodes} == {"n0", *first}
    assert {attempt.node_id for attempt in tree.attempts} == first
    assert tree.items == {"n0": {NodePhase.FAILED: FAILED_ITEMS + 5}}


async def test_the_time_that_a_tree_takes_grows_with_its_nodes_however_many_arrays_there_are(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    nodes = [array(), *(stored.node(f"n{index}") for index in range(1, 10_000))]
    nodes += [item(index, NodePhase.RUNNING, kind=NodeKind.ARRAY) for index in range(10_000)]
    for first in range(0, len(nodes), 5_000):
        commit(ledger, execution, nodes[first : first + 5_000], [])
    async with asyncio.timeout(5):  # one look at every array for every node would take minutes
        tree = await Trees(engine).tree(7)
    assert len(tree.nodes) == 10_000


async def test_a_tree_without_arrays_is_whole(ledger: Ledger, engine: AsyncEngine, execution: ExecutionState) -> None:
    commit(ledger, execution, [stored.node("n0"), stored.node("n0-0-n1", parent_id="n0")], [stored.attempt("n0")])
    tree = await Trees(engine).tree(7)
    assert (len(tree.nodes), len(tree.attempts), tree.items) == (2, 1, {})
    assert await Trees(engine).tree(8) == ([], [], {})


async def test_items_come_in_their_order_with_their_latest_attempt(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    items = [item(index, NodePhase.SUCCEEDED) for index in range(12)]
    items[2].cache_status = CacheStatus.HIT
    items[11].attempt = 1
    attempts = [stored.attempt(node.id, phase=AttemptPhase.LOST) for node in items if node is not items[2]]
    attempts.append(stored.attempt(items[11].id, 1, AttemptPhase.SUCCEEDED))
    commit(ledger, execution, [array(), array("n00"), *items, item(0, NodePhase.QUEUED, "n00")], attempts)
    found = await Trees(engine).items(execution.id, "n0")

    assert [each.spec_id for each in found] == [f"n{index}" for index in range(12)]
    assert [each.attempt_phase for each in found][1:3] == [AttemptPhase.LOST, None]
    assert (found[2].cache_status, found[2].task) == (CacheStatus.HIT, stored.TASK)
    assert (found[11].attempt, found[11].attempt_phase) == (1, AttemptPhase.SUCCEEDED)
    assert await Trees(engine).items(7, "n1") == []


async def test_executions_are_named_and_cached_values_traced_to_their_makers(
    ledger: Ledger, engine: AsyncEngine, execution: ExecutionState
) -> None:
    entry = CacheEntry(KEY, stored.TASK, Data.of(b""), "n0", 2, 1_000)
    ledger.commit(0, 1, [Changes(execution, cached=[entry])])
    trees = Trees(engine)

    assert await trees.names([7, 8]) == {7: execution.id}
    assert await trees.sources([KEY, b"other"]) == {KEY: Source(execution.id, "n0", 2)}
    assert await trees.names([]) == {} == await trees.sources([])
