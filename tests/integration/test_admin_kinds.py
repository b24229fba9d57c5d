"""Nodes of every kind, signals, the cache, children and recoveries as clients see them; their leader is a stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from flyteidl.admin import common_pb2, execution_pb2, node_execution_pb2, signal_pb2, task_execution_pb2
from flyteidl.core import catalog_pb2, compiler_pb2, identifier_pb2, literals_pb2, types_pb2
from flyteidl.core import execution_pb2 as core

from libs.workflow import launch
from libs.workflow.phases import AttemptPhase, CacheStatus, Desired, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import CacheEntry, Data, ExecutionState, NodeState, SignalState
from protos import airscrew_pb2
from tests.support import flyte, refusal_cases, waiting
from tests.support.admin import Door, Leader
from tests.support.refusal_cases import PLAN, good_inputs, integer, string
from tests.support.smalltasks import Registrar
from tests.support.stored import TASK

pytestmark = pytest.mark.timeout(60)

KEY = b"k" * 32


@pytest.fixture
def registrar(user: flyte.Client) -> Iterator[Registrar]:
    """A user with the typed workflow registered."""
    with user.stubs() as stubs:
        registrar = Registrar(stubs)
        refusal_cases.prepare(registrar)
        yield registrar


def plan_id(registrar: Registrar) -> identifier_pb2.Identifier:
    return registrar.id(identifier_pb2.LAUNCH_PLAN, PLAN)


def launched(registrar: Registrar, leader: Leader, name: str, **spec: Any) -> ExecutionState:
    """An execution that its leader has begun with."""
    request = registrar.launch_request(plan_id(registrar), name, inputs=good_inputs())
    request.spec.MergeFrom(execution_pb2.ExecutionSpec(**spec))
    registrar.stubs.admin.CreateExecution(request, timeout=10)
    state = leader.load(name)
    leader.commit(state, ExecutionPhase.RUNNING)
    return state


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), str(caught.value.details())


# ------------------------------------------------------------------------------------------------------------ signals


def signal_id(registrar: Registrar, name: str, signal: str) -> identifier_pb2.SignalIdentifier:
    return identifier_pb2.SignalIdentifier(signal_id=signal, execution_id=registrar.execution_id(name))


def give(registrar: Registrar, name: str, signal: str, value: literals_pb2.Literal) -> None:
    request = signal_pb2.SignalSetRequest(id=signal_id(registrar, name, signal), value=value)
    registrar.stubs.signal.SetSignal(request, timeout=10)


def waits_for(leader: Leader, state: ExecutionState, signal: str, wanted: types_pb2.LiteralType) -> None:
    gate = leader.node(f"gate-{signal}", NodePhase.RUNNING, NodeKind.GATE)
    waiting = SignalState(signal, gate.id, wanted.SerializeToString(), state.updated_at_us)
    leader.commit(state, nodes=[gate], signals=[waiting])


def test_a_signal_can_be_given_once_its_gate_waits_and_wakes_the_leader(
    admin: Door, registrar: Registrar, leading: Leader
) -> None:
    state = launched(registrar, leading, "gated")
    assert refused(lambda: give(registrar, "gated", "count", integer(3)))[0] is grpc.StatusCode.NOT_FOUND
    waits_for(leading, state, "count", types_pb2.LiteralType(simple=types_pb2.INTEGER))
    before = admin.queued
    give(registrar, "gated", "count", integer(3))

    intent = leading.load("gated").intent
    assert intent.generation == 2
    assert [(name, literals_pb2.Literal.FromString(value)) for name, value in intent.signals] == [("count", integer(3))]
    waiting.wait_until(lambda: admin.queued == before + 1)
    give(registrar, "gated", "count", integer(3))
    assert leading.load("gated").intent.generation == 2
    assert refused(lambda: give(registrar, "gated", "count", integer(4)))[0] is grpc.StatusCode.FAILED_PRECONDITION


def test_a_signal_of_another_type_is_refused_at_the_place_where_it_differs(
    registrar: Registrar, leading: Leader
) -> None:
    state = launched(registrar, leading, "typed-gate")
    waits_for(leading, state, "rows", refusal_cases.ROWS)
    wrong = refusal_cases.rows(refusal_cases.number(1), string("two"))
    status, details = refused(lambda: give(registrar, "typed-gate", "rows", wrong))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "value[1].x: expected FLOAT, got STRING" in details
    assert leading.load("typed-gate").intent.generation == 1


def test_signals_are_listed_page_by_page_with_their_types_and_values(registrar: Registrar, leading: Leader) -> None:
    state = launched(registrar, leading, "many-gates")
    for name in ("a", "b", "c"):
        waits_for(leading, state, name, types_pb2.LiteralType(simple=types_pb2.INTEGER))
    give(registrar, "many-gates", "b", integer(7))
    request = signal_pb2.SignalListRequest(workflow_execution_id=registrar.execution_id("many-gates"), limit=2)
    first = registrar.stubs.signal.ListSignals(request, timeout=10)
    request.token = first.token
    last = registrar.stubs.signal.ListSignals(request, timeout=10)

    found = [*first.signals, *last.signals]
    assert [signal.id for signal in found] == [signal_id(registrar, "many-gates", name) for name in "abc"]
    assert [signal.HasField("value") for signal in found] == [False, True, False]
    assert all(signal.type.simple == types_pb2.INTEGER for signal in found)
    request = signal_pb2.SignalListRequest(workflow_execution_id=registrar.execution_id("many-gates"), limit=9)
    request.filters = "value_in(signal_id,a;c)"
    assert len(registrar.stubs.signal.ListSignals(request, timeout=10).signals) == 2


# ----------------------------------------------------------------------------------------------------- parents and runs


def test_an_execution_that_an_eager_task_launches_is_its_child_and_none_can_follow_its_end(
    registrar: Registrar, leading: Leader
) -> None:
    parent = launched(registrar, leading, "eager")
    labels = {"values": {"eager-exec": "eager"}}
    assert launched(registrar, leading, "step", labels=labels).parent_key == parent.key
    assert launched(registrar, leading, "free", labels={"values": {"eager-exec": "nobody"}}).parent_key is None
    registrar.abort(registrar.execution_id("eager"), "enough")
    status, details = refused(lambda: launched(registrar, leading, "late", labels=labels))
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert "parent" in details
    tree = registrar.stubs.airscrew.GetTree(airscrew_pb2.GetTreeRequest(id=registrar.execution_id("eager")), timeout=10)
    assert [one.id.name for one in tree.launched] == ["step"]


def test_a_recovery_refers_to_what_it_recovers_and_is_nobodys_child(registrar: Registrar, leading: Leader) -> None:
    parent = launched(registrar, leading, "around")
    labels = {"values": {"eager-exec": "around"}}
    failed = launched(registrar, leading, "broken", labels=labels, overwrite_cache=True)
    request = execution_pb2.ExecutionRecoverRequest(id=registrar.execution_id("broken"), name="mended")
    assert refused(lambda: registrar.stubs.admin.RecoverExecution(request, timeout=10))[0] is (
        grpc.StatusCode.FAILED_PRECONDITION
    )
    leading.commit(failed, ExecutionPhase.FAILED)
    assert registrar.stubs.admin.RecoverExecution(request, timeout=10).id.name == "mended"

    state = leading.load("mended")
    assert (state.recovers_key, state.parent_key) == (failed.key, None)
    assert state.inputs == failed.inputs
    assert parent.key != state.key == state.root_key
    spec = registrar.get(registrar.execution_id("mended")).spec
    assert spec.metadata.mode == execution_pb2.ExecutionMetadata.RECOVERED
    assert spec.metadata.reference_execution.name == "broken"
    assert spec.overwrite_cache


def test_a_relaunch_overwrites_the_cache_only_if_it_is_told_to(registrar: Registrar, leading: Leader) -> None:
    launched(registrar, leading, "once", overwrite_cache=True)
    for name, overwrite in (("twice", False), ("thrice", True)):
        request = execution_pb2.ExecutionRelaunchRequest(
            id=registrar.execution_id("once"), name=name, overwrite_cache=overwrite
        )
        registrar.stubs.admin.RelaunchExecution(request, timeout=10)
        assert registrar.get(registrar.execution_id(name)).spec.overwrite_cache is overwrite
        assert leading.load(name).recovers_key is None


def test_a_launch_plan_node_names_the_execution_that_it_has_launched(registrar: Registrar, leading: Leader) -> None:
    state = launched(registrar, leading, "parent")
    child = launch.launch_child(
        state,
        "n0",
        0,
        state.launch_plan,
        launch_plan_of(registrar),
        state.workflow,
        Data.of(good_inputs().SerializeToString()),
        state.updated_at_us,
    )
    node = leading.node("n0", NodePhase.RUNNING, NodeKind.LAUNCH_PLAN, child_key=child.key)
    leading.commit(state, nodes=[node], children=[child])

    shown = registrar.stubs.admin.GetNodeExecution(
        node_execution_pb2.NodeExecutionGetRequest(id=node_id(registrar, "parent", "n0")), timeout=10
    )
    assert shown.closure.workflow_node_metadata.executionId.name == child.id.name
    assert not shown.metadata.is_parent_node
    spec = registrar.get(shown.closure.workflow_node_metadata.executionId).spec
    assert spec.metadata.mode == execution_pb2.ExecutionMetadata.CHILD_WORKFLOW
    assert spec.metadata.parent_node_execution == node_id(registrar, "parent", "n0")
    assert leading.load(child.id.name).intent.desired is Desired.RUN


def launch_plan_of(registrar: Registrar) -> Any:
    found = registrar.stubs.admin.GetLaunchPlan(common_pb2.ObjectGetRequest(id=plan_id(registrar)), timeout=10)
    return found.spec


# ---------------------------------------------------------------------------------------------------------- node kinds


def node_id(registrar: Registrar, name: str, node: str) -> identifier_pb2.NodeExecutionIdentifier:
    return identifier_pb2.NodeExecutionIdentifier(node_id=node, execution_id=registrar.execution_id(name))


def get_node(registrar: Registrar, name: str, node: str) -> node_execution_pb2.NodeExecution:
    request = node_execution_pb2.NodeExecutionGetRequest(id=node_id(registrar, name, node))
    return registrar.stubs.admin.GetNodeExecution(request, timeout=10)


def node_data(registrar: Registrar, name: str, node: str) -> node_execution_pb2.NodeExecutionGetDataResponse:
    request = node_execution_pb2.NodeExecutionGetDataRequest(id=node_id(registrar, name, node))
    return registrar.stubs.admin.GetNodeExecutionData(request, timeout=10)


def test_a_dynamic_node_is_a_parent_as_soon_as_its_workflow_can_be_shown(
    admin: Door, registrar: Registrar, leading: Leader
) -> None:
    state = launched(registrar, leading, "dynamic")
    uri = admin.blob.join("closure.pb")
    closure = compiler_pb2.CompiledWorkflowClosure()
    closure.primary.template.id.name = "made-by-n0"
    admin.run(admin.blob.write(uri, closure.SerializeToString()))
    node = leading.node("n0", NodePhase.RUNNING, task=TASK, futures_uri="/futures.pb")
    leading.commit(state, nodes=[node])
    assert not get_node(registrar, "dynamic", "n0").metadata.is_parent_node
    assert not node_data(registrar, "dynamic", "n0").HasField("dynamic_workflow")

    node.closure_uri, node.phase = uri, NodePhase.DYNAMIC_RUNNING
    leading.commit(state, nodes=[node])
    shown = get_node(registrar, "dynamic", "n0")
    assert shown.metadata.is_parent_node and shown.metadata.is_dynamic
    dynamic = node_data(registrar, "dynamic", "n0").dynamic_workflow
    assert dynamic.id.name == "made-by-n0"
    assert dynamic.compiled_workflow == closure
    request = node_execution_pb2.GetDynamicNodeWorkflowRequest(id=node_id(registrar, "dynamic", "n0"))
    assert registrar.stubs.admin.GetDynamicNodeWorkflow(request, timeout=10).compiled_workflow == closure


def items(leader: Leader, array: str, *phases: NodePhase, **changed: Any) -> list[NodeState]:
    return [
        leader.node(f"{array}-0-n{index}", phase, spec_id=f"n{index}", parent_id=array, task=TASK, **changed)
        for index, phase in enumerate(phases)
    ]


def test_an_array_over_a_task_is_one_task_execution_with_a_resource_for_each_item(
    admin: Door, registrar: Registrar, leading: Leader
) -> None:
    state = launched(registrar, leading, "mapped")
    outputs = Data.of(literals_pb2.LiteralMap(literals={"o0": integer(1)}).SerializeToString())
    array = leading.node("n0", NodePhase.FAILED, NodeKind.ARRAY, items=12, outputs=outputs)
    done = items(leading, "n0", *[NodePhase.SUCCEEDED] * 11, NodePhase.FAILED)
    done[3].cache_status = CacheStatus.HIT
    done[11].attempt = 1
    attempts = [
        *(leading.attempt(item.id, 0, AttemptPhase.SUCCEEDED) for item in done[:11] if item is not done[3]),
        leading.attempt(done[11].id, 0, AttemptPhase.RETRYABLE_FAILED),
        leading.attempt(done[11].id, 1, AttemptPhase.LOST, log_uri=admin.blob.join("logs/n11")),
    ]
    leading.commit(state, nodes=[array, *done], attempts=attempts)

    shown = get_node(registrar, "mapped", "n0")
    assert shown.metadata.is_array and not shown.metadata.is_parent_node
    (execution,) = registrar.stubs.admin.ListTaskExecutions(
        task_execution_pb2.TaskExecutionListRequest(node_execution_id=node_id(registrar, "mapped", "n0"), limit=100),
        timeout=10,
    ).task_executions
    assert execution.id.task_id.name == TASK.name
    assert execution.closure.phase == core.TaskExecution.FAILED
    resources = execution.closure.metadata.external_resources
    assert [resource.index for resource in resources] == list(range(12))
    assert [resource.phase for resource in resources] == [core.TaskExecution.SUCCEEDED] * 11 + [
        core.TaskExecution.FAILED
    ]
    assert resources[3].cache_status == catalog_pb2.CACHE_HIT
    assert (resources[11].retry_attempt, resources[11].external_id) == (1, "n0-n11-1")
    assert resources[11].logs[0].uri.startswith("http")
    get = task_execution_pb2.TaskExecutionGetRequest(id=execution.id)
    assert registrar.stubs.admin.GetTaskExecution(get, timeout=10).id == execution.id
    data = registrar.stubs.admin.GetTaskExecutionData(
        task_execution_pb2.TaskExecutionGetDataRequest(id=execution.id), timeout=10
    )
    assert data.full_outputs.literals["o0"] == integer(1)
    get.id.retry_attempt = 1
    assert refused(lambda: registrar.stubs.admin.GetTaskExecution(get, timeout=10))[0] is grpc.StatusCode.NOT_FOUND


def test_a_tree_counts_the_items_of_an_array_and_lists_those_that_failed(registrar: Registrar, leading: Leader) -> None:
    state = launched(registrar, leading, "forest")
    array = leading.node("n0", NodePhase.RUNNING, NodeKind.ARRAY, items=100)
    done = items(leading, "n0", *[NodePhase.SUCCEEDED] * 30, NodePhase.FAILED, NodePhase.RUNNING)
    below = leading.node("n0-0-n0-0-n5", NodePhase.SUCCEEDED, parent_id="n0-0-n0")
    attempts = [leading.attempt(item.id, 0, AttemptPhase.SUCCEEDED) for item in done[:30]]
    attempts.append(leading.attempt(done[30].id, 0, AttemptPhase.FAILED, reason="no luck"))
    waits_for(leading, state, "ship", types_pb2.LiteralType(simple=types_pb2.BOOLEAN))
    leading.commit(state, nodes=[array, below, *done], attempts=attempts)

    tree = registrar.stubs.airscrew.GetTree(
        airscrew_pb2.GetTreeRequest(id=registrar.execution_id("forest")), timeout=10
    )
    shown = {node.node.id.node_id: node for node in tree.nodes}
    assert set(shown) == {"n0", "n0-0-n30", "gate-ship"}
    assert shown["n0"].size == 100
    assert dict(shown["n0"].items) == {"SUCCEEDED": 30, "FAILED": 1, "RUNNING": 1}
    assert [attempt.reason for attempt in shown["n0-0-n30"].attempts] == ["no luck"]
    assert [signal.signal.id.signal_id for signal in tree.signals] == ["ship"]


def test_a_node_that_took_a_cached_value_says_whose_and_eviction_forgets_it(
    registrar: Registrar, leading: Leader
) -> None:
    maker, taker = launched(registrar, leading, "maker"), launched(registrar, leading, "taker")
    made = leading.node(
        "n0", NodePhase.SUCCEEDED, task=TASK, cache_key=KEY, cache_status=CacheStatus.POPULATED, attempt=2
    )
    entry = CacheEntry(KEY, TASK, Data.of(b""), "n0", 2, maker.updated_at_us)
    leading.commit(maker, nodes=[made], cached=[entry])
    took = leading.node("n7", NodePhase.SUCCEEDED, task=TASK, cache_key=KEY, cache_status=CacheStatus.HIT)
    leading.commit(taker, nodes=[took])

    metadata = get_node(registrar, "taker", "n7").closure.task_node_metadata
    assert metadata.cache_status == catalog_pb2.CACHE_HIT
    assert metadata.catalog_key.dataset_id.name == f"flyte_task-{TASK.name}"
    source = metadata.catalog_key.source_task_execution
    assert source.node_execution_id == node_id(registrar, "maker", "n0")
    assert source.retry_attempt == 2
    evicted = airscrew_pb2.EvictCacheRequest()
    evicted.made.execution_id.CopyFrom(registrar.execution_id("taker"))
    evicted.made.node_id = "n7"
    assert registrar.stubs.airscrew.EvictCache(evicted, timeout=10).evicted == 1
    assert registrar.stubs.airscrew.EvictCache(evicted, timeout=10).evicted == 0
    leading.commit(maker, nodes=[made], cached=[entry])
    by_task = airscrew_pb2.EvictCacheRequest()
    by_task.task.project, by_task.task.domain, by_task.task.name = TASK[:3]
    assert registrar.stubs.airscrew.EvictCache(by_task, timeout=10).evicted == 1


def test_a_recovered_node_is_shown_as_succeeded_and_our_own_tree_says_recovered(
    registrar: Registrar, leading: Leader
) -> None:
    state = launched(registrar, leading, "second")
    leading.commit(state, nodes=[leading.node("n0", NodePhase.RECOVERED, task=TASK)])
    assert get_node(registrar, "second", "n0").closure.phase == core.NodeExecution.SUCCEEDED
    tree = registrar.stubs.airscrew.GetTree(
        airscrew_pb2.GetTreeRequest(id=registrar.execution_id("second")), timeout=10
    )
    assert [node.phase for node in tree.nodes] == ["RECOVERED"]
