"""Workflows of every kind of node, run whole: real ledgers, blob store, queue and sessions; leaders come and go."""

from __future__ import annotations

from pathlib import Path

import pytest
from flyteidl.core import execution_pb2, tasks_pb2

from libs.workflow.phases import CacheStatus, Desired, ExecutionPhase, NodePhase
from services.propeller import cache
from services.standalone.etcd import EtcdServer
from tests.support import kinds
from tests.support.faulty_ledger import FaultyLedger
from tests.support.flytetypes import INTEGER
from tests.support.graphs import integer
from tests.support.kinds import array, signalled
from tests.support.propelling import Fleet, Instant
from tests.support.templates import constant, list_of, node, plan_node, workflow
from tests.support.waiting import until

X, N, RESULT = {"x": INTEGER}, {"n": INTEGER}, {"o": INTEGER}

GRANDCHILD = workflow(node("n0", "slow", x="x"), name="grandchild", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
CHILD = workflow(plan_node("n0", "grandchild", x="x"), name="child", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
PARENT = workflow(
    plan_node("n0", "child", x="x"),
    node("n1", "add", x="n0.o"),
    name="parent",
    inputs=X,
    outputs=RESULT,
    returns={"o": "n1.o"},
)
FAILING = workflow(
    plan_node("n0", "child", x="x"),
    node("n1", "fail", x="x"),
    name="failing",
    inputs=X,
    outputs=RESULT,
    returns={"o": "n1.o"},
)
DYNAMIC = workflow(node("n0", "echoes", n="n"), name="dynamic", inputs=N, outputs=RESULT, returns={"o": "n0.o"})
WRONG = workflow(node("n0", "wrong", n="n"), name="wrong", inputs=N, outputs=RESULT, returns={"o": "n0.o"})
NESTED = workflow(
    node("n0", "nest", n="n"),
    node("n1", "slow", x="n0.o"),
    name="nested",
    inputs=N,
    outputs=RESULT,
    returns={"o": "n1.o"},
)
CACHED = workflow(node("n0", "slow", x="x"), name="cached", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
AGAIN = workflow(
    node("n0", "slow", x="x"),
    node("n1", "slow", after=("n0",), x="x"),
    name="again",
    inputs=X,
    outputs=RESULT,
    returns={"o": "n1.o"},
)
GATED = workflow(
    signalled("n0", "go"), node("n1", "add", x="n0.o"), name="gated", inputs=X, outputs=RESULT, returns={"o": "n1.o"}
)
XS = list_of(*map(constant, range(1, 6)))
ITEMS = workflow(
    array("n0", node("item", "add"), sliced=True, x=XS),
    array("n1", node("item", "pick"), sliced=False, xs="n0.o"),
    node("n2", "sum", xs="n1.o"),
    name="items",
    inputs=X,
    outputs=RESULT,
    returns={"o": "n2.o"},
)


def kept(template: tasks_pb2.TaskTemplate) -> None:
    """Its outputs are kept."""
    template.metadata.discoverable = True
    template.metadata.discovery_version = "1"


def serialized(template: tasks_pb2.TaskTemplate) -> None:
    """Its outputs are kept, and one node at a time computes them."""
    kept(template)
    template.metadata.cache_serializable = True


async def test_the_end_of_a_child_is_known_to_its_parent_at_once(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(sweep_seconds=600.0)
        fleet.executor(Instant())
        await fleet.register_workflows(GRANDCHILD, CHILD, PARENT)
        await fleet.start_workflow(PARENT, 1, x=1)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)
        assert integer((await fleet.execution(1)).outputs) == 3
        child = await fleet.execution(await fleet.child_of(1, "n0"))
        assert (child.phase, child.parent_key, child.parent_node_id) == (ExecutionPhase.SUCCEEDED, 1, "n0")
        assert child.root_key == 1


async def test_an_abort_reaches_the_last_descendant_without_a_sweep(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    processes = Instant(held_back=frozenset({"slow"}))
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(sweep_seconds=600.0)
        fleet.executor(processes)
        await fleet.register_workflows(GRANDCHILD, CHILD, PARENT)
        await fleet.start_workflow(PARENT, 1, x=1)
        await until(lambda: processes.starts, "the grandchild's task")
        family = [1, child := await fleet.child_of(1, "n0"), await fleet.child_of(child, "n0")]
        await fleet.abort(1, "enough", "somebody")
        await fleet.until(ExecutionPhase.ABORTED, *family)
        for key in family:
            intent = (await fleet.execution(key)).intent
            assert (intent.desired, intent.abort_cause, intent.abort_principal) == (Desired.ABORT, "enough", "somebody")


async def test_a_failed_parent_leaves_no_child_running(tmp_path: Path, sqlite_url: str, etcd: EtcdServer) -> None:
    processes = Instant(held_back=frozenset({"slow"}))
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(sweep_seconds=600.0)
        fleet.executor(processes)
        await fleet.register_workflows(GRANDCHILD, CHILD, FAILING)
        await fleet.start_workflow(FAILING, 1, x=1)
        await fleet.until(ExecutionPhase.FAILED, 1)
        child = await fleet.child_of(1, "n0")
        assert (await fleet.execution(child)).phase is ExecutionPhase.ABORTED
        assert (await fleet.executions.get_node(1, "n0")).phase is NodePhase.ABORTED


async def test_a_task_may_ask_for_ten_thousand_nodes(tmp_path: Path, sqlite_url: str, etcd: EtcdServer) -> None:
    count = 10_000
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller()
        fleet.executor(Instant())
        await fleet.register_workflows(DYNAMIC)
        await fleet.start_workflow(DYNAMIC, 1, n=count)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1, timeout_seconds=110)
        assert integer((await fleet.execution(1)).outputs) == kinds.total(count - 1)
        assert (await fleet.executions.get_node(1, "n0-0-dn9999")).phase is NodePhase.SUCCEEDED


async def test_what_a_task_asks_for_and_cannot_have_fails_its_node_with_all_that_is_wrong(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller()
        fleet.executor(Instant())
        await fleet.register_workflows(WRONG)
        await fleet.start_workflow(WRONG, 1, n=2)
        await fleet.until(ExecutionPhase.FAILED, 1)
        error = execution_pb2.ExecutionError.FromString((await fleet.execution(1)).error or b"")
        assert error.code == "DynamicWorkflowBuildFailed"
        assert "node dn0" in error.message
        assert "node dn1" in error.message


@pytest.mark.parametrize("seed", range(3))
async def test_parents_children_and_dynamic_nodes_end_well_whatever_happens_to_commits(
    tmp_path: Path, database_url: str, etcd: EtcdServer, seed: int
) -> None:
    processes, faults = Instant(), list[str]()
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(open_ledger=lambda: FaultyLedger(database_url, seed, faults), sweep_seconds=1.0)
        fleet.executor(processes)
        await fleet.register_workflows(GRANDCHILD, CHILD, PARENT, NESTED)
        for key in (1, 2, 3):
            await fleet.start_workflow(PARENT, key, x=key)
            await fleet.start_workflow(NESTED, 10 + key, n=key)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1, 2, 3, 11, 12, 13, timeout_seconds=50)
        for key in (1, 2, 3):
            assert integer((await fleet.execution(key)).outputs) == key + 2
            assert integer((await fleet.execution(10 + key)).outputs) == kinds.total(key) + 1
    assert faults, "the test has broken nothing"
    assert sorted(processes.starts) == sorted(set(processes.starts))


async def test_a_successor_goes_on_with_children_and_nested_dynamic_nodes(
    tmp_path: Path, postgres_url: str, etcd: EtcdServer
) -> None:
    processes = Instant(held_back=frozenset({"slow", "add"}))
    async with Fleet(tmp_path, postgres_url, etcd.endpoint) as fleet:
        fleet.queue()
        first = fleet.propeller()
        await fleet.led()
        fleet.propeller()
        fleet.executor(processes)
        await fleet.register_workflows(GRANDCHILD, CHILD, PARENT, NESTED)
        await fleet.start_workflow(PARENT, 1, x=1)
        await fleet.start_workflow(NESTED, 2, n=5)
        await until(lambda: len(processes.starts) == 1 + 2 + 5, "everything that can start")
        await first.stop()
        processes.release()
        await fleet.until(ExecutionPhase.SUCCEEDED, 1, 2)
        assert integer((await fleet.execution(1)).outputs) == 3
        assert integer((await fleet.execution(2)).outputs) == kinds.total(5) + 1
        assert sorted(processes.starts) == sorted(set(processes.starts))


async def test_a_finished_dynamic_node_does_not_keep_a_successor_from_going_on(
    tmp_path: Path, postgres_url: str, etcd: EtcdServer
) -> None:
    processes = Instant(held_back=frozenset({"slow"}))
    async with Fleet(tmp_path, postgres_url, etcd.endpoint) as fleet:
        fleet.queue()
        first = fleet.propeller()
        await fleet.led()
        fleet.propeller()
        fleet.executor(processes)
        await fleet.register_workflows(NESTED)
        await fleet.start_workflow(NESTED, 1, n=2)
        await until(lambda: len(processes.starts) == 2 + 2 + 1 + 1, "what follows the dynamic node")
        await first.stop()
        processes.release()
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)


async def test_a_signal_wakes_its_gate_at_once_whoever_leads_by_then(
    tmp_path: Path, postgres_url: str, etcd: EtcdServer
) -> None:
    async with Fleet(tmp_path, postgres_url, etcd.endpoint) as fleet:
        fleet.queue()
        first = fleet.propeller(sweep_seconds=600.0)
        await fleet.led()
        fleet.propeller(sweep_seconds=600.0)
        fleet.executor(Instant())
        await fleet.register_workflows(GATED)
        await fleet.start_workflow(GATED, 1, x=0)
        await fleet.start_workflow(GATED, 2, x=0)
        await fleet.signal(1, "go", 41)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)
        assert integer((await fleet.execution(1)).outputs) == 42
        await first.stop()
        await fleet.signal(2, "go", 6)
        await fleet.until(ExecutionPhase.SUCCEEDED, 2)
        assert integer((await fleet.execution(2)).outputs) == 7


async def test_of_executions_that_want_the_same_value_one_computes_it_and_the_others_get_it_at_once(
    tmp_path: Path, database_url: str, etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ASK_AGAIN_SECONDS", 600.0)
    processes = Instant(held_back=frozenset({"slow"}))
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(sweep_seconds=600.0)
        fleet.executor(processes)
        await fleet.register_workflows(CACHED, change=serialized)
        for key in range(1, 6):
            await fleet.start_workflow(CACHED, key, x=1)
        await fleet.until(ExecutionPhase.RUNNING, *range(1, 6))
        await until(lambda: processes.starts)
        processes.release()
        await fleet.until(ExecutionPhase.SUCCEEDED, *range(1, 6))
        assert {integer((await fleet.execution(key)).outputs) for key in range(1, 6)} == {2}
        assert len(processes.starts) == 1
        statuses = sorted([(await fleet.executions.get_node(key, "n0")).cache_status for key in range(1, 6)])
        assert statuses == [CacheStatus.HIT] * 4 + [CacheStatus.POPULATED]


async def test_a_node_finds_in_the_cache_what_the_node_before_it_has_just_computed(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    processes = Instant()
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller()
        fleet.executor(processes)
        await fleet.register_workflows(AGAIN, change=kept)
        await fleet.start_workflow(AGAIN, 1, x=1)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)
        assert len(processes.starts) == 1
        assert (await fleet.executions.get_node(1, "n1")).cache_status == CacheStatus.HIT


async def test_who_waits_for_a_value_goes_on_waiting_under_the_next_leader(
    tmp_path: Path, postgres_url: str, etcd: EtcdServer
) -> None:
    processes = Instant(held_back=frozenset({"slow"}))
    async with Fleet(tmp_path, postgres_url, etcd.endpoint) as fleet:
        fleet.queue()
        first = fleet.propeller(sweep_seconds=600.0)
        await fleet.led()
        fleet.propeller(sweep_seconds=600.0)
        fleet.executor(processes)
        await fleet.register_workflows(CACHED, change=serialized)
        for key in (1, 2, 3):
            await fleet.start_workflow(CACHED, key, x=1)
        await fleet.until(ExecutionPhase.RUNNING, 1, 2, 3)
        await until(lambda: processes.starts)
        await first.stop()
        processes.release()
        await fleet.until(ExecutionPhase.SUCCEEDED, 1, 2, 3)
        assert len(processes.starts) == 1


async def test_items_get_their_elements_or_their_index(tmp_path: Path, database_url: str, etcd: EtcdServer) -> None:
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller()
        fleet.executor(Instant())
        await fleet.register_workflows(ITEMS)
        await fleet.start_workflow(ITEMS, 1, x=0)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)
        assert integer((await fleet.execution(1)).outputs) == 2 + 3 + 4 + 5 + 6
