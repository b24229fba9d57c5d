"""What items of arrays, and nodes without a version, make of the cache. The rest is in `scenarios/cache_*`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flyteidl.core import execution_pb2

from libs.workflow.caching import cache_key
from libs.workflow.machine import messages as m
from libs.workflow.phases import CacheStatus, ExecutionPhase, NodePhase
from tests.support.graphs import Array, Plan, Step, graph_of, integer, state_of
from tests.support.machine import world, world_of


def array_of(*numbers: int, sliced: bool, needs: tuple[str, ...] = ()) -> Plan:
    item = Step("item", cache="1", serialized=True)
    array = Step("n0", needs, array=Array(item, {"x": numbers}, sliced=sliced))
    return Plan((*(Step(need) for need in needs), array))


@pytest.mark.parametrize("sliced", [True, False])
def test_items_with_equal_elements_are_computed_once(sliced: bool) -> None:
    it = world_of(array_of(5, 7, 5, 5, sliced=sliced), 1)
    it.run()
    assert it.state.phase is ExecutionPhase.SUCCEEDED
    assert it.result() == 6 + 8 + 6 + 6
    items = {node_id: node for node_id, node in it.nodes.items() if node.parent_id == "n0"}
    assert sorted(node.cache_status for node in items.values()) == [
        CacheStatus.HIT,
        CacheStatus.HIT,
        CacheStatus.POPULATED,
        CacheStatus.POPULATED,
    ]
    assert len(it.attempts) == 2 + 1, "two items, and the sum"
    assert items["n0-0-n0"].cache_key == items["n0-0-n2"].cache_key != items["n0-0-n1"].cache_key


def test_what_every_item_gets_whole_is_part_of_its_key() -> None:
    keys = set()
    for x in (1, 2):
        it = world_of(array_of(5, sliced=False, needs=("a",)), x)
        it.run()
        keys.add(it.nodes["n0-0-n0"].cache_key)
    assert len(keys) == 2


def test_a_task_finds_what_an_item_has_computed_from_the_same_input() -> None:
    it = world_of(array_of(5, sliced=True), 1)
    it.run()
    single = world_of(Plan((Step("n0", cache="1"),)), 5)
    single.store.cache = it.store.cache
    single.run()
    assert single.nodes["n0"].cache_status is CacheStatus.HIT
    assert integer(single.nodes["n0"].outputs) == 6


def test_a_cache_without_version_is_an_error_of_its_node() -> None:
    plan = Plan((Step("n0", cache="1"),))
    graph = graph_of(plan)
    spec = graph.nodes[graph.index["n0"]]
    assert spec.cache is not None and spec.task is not None
    nodes = [replace(spec, cache=replace(spec.cache, version="")) if node is spec else node for node in graph.nodes]
    it = world(state_of(plan), replace(graph, nodes=nodes))
    it.begin()
    assert it.nodes["n0"].phase is NodePhase.FAILED
    error = execution_pb2.ExecutionError.FromString(it.nodes["n0"].error or b"")
    assert (error.code, error.kind) == ("CacheVersionMissing", execution_pb2.ExecutionError.USER)
    assert "task add" in error.message


def test_the_key_of_a_node_is_that_of_its_task_and_inputs() -> None:
    plan = Plan((Step("n0", cache="1"),))
    it = world_of(plan, 3)
    turn = it.begin()
    spec = it.graph.nodes[it.graph.index["n0"]]
    assert spec.cache is not None and spec.task is not None
    key = cache_key(spec.task.id, spec.cache, it.content(it.state.inputs))
    assert turn.commands == [m.LookUpCache("n0", key, reserve=False)]


SERIALIZED = Plan((Step("n0", cache="1", serialized=True),))
BUSY = m.CacheAnswered("n0", None, reserved=False)


def test_a_node_that_asks_in_vain_and_goes_on_waiting_changes_nothing() -> None:
    it = world_of(SERIALIZED, 3)
    (asks,) = it.begin().commands
    assert isinstance(asks, m.LookUpCache)
    assert it.turn(BUSY).changes
    for _ in range(2):
        assert it.turn(m.CacheFreed(asks.key)).commands == [asks]
        again = it.turn(BUSY)
        assert not again.changes and not again.commands


def test_a_node_that_waits_takes_the_answer_to_a_question_that_was_asked_twice() -> None:
    it = world_of(SERIALIZED, 3)
    (asks,) = it.begin().commands
    assert isinstance(asks, m.LookUpCache)
    it.turn(BUSY)
    assert it.crash().commands == [asks]
    it.turn(BUSY)  # what was asked before
    assert it.turn(m.CacheAnswered("n0", None)).commands == [m.Seek("n0", 0)]
    assert it.turn(m.CacheFreed(asks.key)).commands == []
