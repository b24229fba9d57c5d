"""From a compiled closure to what the machine walks: edges, sources, policies, and what each node needs to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.core import compiler_pb2, literals_pb2, tasks_pb2, types_pb2, workflow_pb2

from libs.workflow.errors import Internal, InvalidArgument
from libs.workflow.graph import DEFAULT_SLOTS, Graph, GraphNode, build
from libs.workflow.identity import END_NODE_ID, START_NODE_ID
from libs.workflow.phases import NodeKind
from libs.workflow.quantities import Slots
from tests.support.graphs import Array, Plan, Step, closure_of
from tests.support.templates import bindings, identifier, list_of, map_of, promise

POLICY = workflow_pb2.WorkflowMetadata
INNER = Plan((Step("n0"),), name="inner")
DIAMOND = Plan((Step("n0"), Step("n1", ("n0",)), Step("n2", ("n0",)), Step("n3", ("n1", "n2"))))
Closure = compiler_pb2.CompiledWorkflowClosure


def built(plan: Plan, change: Callable[[Closure], object] = lambda closure: None) -> Graph:
    closure = closure_of(plan)
    change(closure)
    return build(closure)


def only(change: Callable[[workflow_pb2.Node, tasks_pb2.TaskTemplate], object]) -> GraphNode:
    """The node `n0` of a workflow of one task, after `change` of it and its task."""
    graph = built(Plan((Step("n0"),)), lambda closure: change(_node(closure, "n0"), closure.tasks[0].template))
    return at(graph, "n0")


def at(graph: Graph, node_id: str) -> GraphNode:
    return graph.nodes[graph.index[node_id]]


def _node(closure: Closure, node_id: str) -> workflow_pb2.Node:
    return next(node for node in closure.primary.template.nodes if node.id == node_id)


def names(graph: Graph, indices: tuple[int, ...]) -> set[str]:
    return {graph.nodes[index].id for index in indices}


def test_edges_go_both_ways() -> None:
    graph = built(DIAMOND)
    assert names(graph, at(graph, "n3").upstream) == {"n1", "n2"}
    assert names(graph, at(graph, "n0").downstream) == {"n1", "n2"}
    assert names(graph, at(graph, "n0").upstream) == {START_NODE_ID}
    assert at(graph, START_NODE_ID).upstream == ()
    assert at(graph, END_NODE_ID).downstream == ()
    for node in graph.nodes:
        assert all(node.index in graph.nodes[other].downstream for other in node.upstream)


def test_the_ends_of_a_graph_are_its_start_and_end_node() -> None:
    graph = built(DIAMOND)
    assert graph.nodes[graph.start].kind is NodeKind.START
    assert graph.nodes[graph.end].kind is NodeKind.END
    assert {at(graph, name).kind for name in ("n0", "n3")} == {NodeKind.TASK}


def test_an_edge_that_is_named_twice_counts_once() -> None:
    def twice(closure: Closure) -> None:
        closure.primary.connections.upstream["n1"].ids.extend(["n0", "n0"])

    graph = built(DIAMOND, twice)
    assert len(at(graph, "n1").upstream) == 1


def test_sources_are_what_bindings_read_at_any_depth_and_not_mere_order() -> None:
    def rebound(closure: Closure) -> None:
        node = _node(closure, "n3")
        del node.inputs[:]
        node.inputs.extend(bindings({"a": list_of(map_of(k=promise("n1.o")), promise("x")), "b": 3}))

    graph = built(DIAMOND, rebound)
    assert names(graph, at(graph, "n3").sources) == {"n1", START_NODE_ID}
    assert names(graph, at(graph, "n3").upstream) == {"n1", "n2"}


def test_aliases_lead_from_the_alias_to_the_variable() -> None:
    def alias(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        node.output_aliases.add(var="o", alias="result")

    assert only(alias).aliases == {"result": "o"}


@pytest.mark.parametrize(
    ("policy", "immediately"), [(POLICY.FAIL_IMMEDIATELY, True), (POLICY.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE, False)]
)
def test_the_policy_on_failure_is_the_graphs_own(policy: int, immediately: bool) -> None:
    def chosen(closure: Closure) -> None:
        closure.primary.template.metadata.on_failure = policy

    graph = built(Plan((Step("n0", (), INNER),)), chosen)
    inner = at(graph, "n0").graph
    assert graph.fail_immediately is immediately
    assert inner is not None
    assert inner.fail_immediately


@pytest.mark.parametrize(("of_node", "of_task", "attempts"), [(None, 0, 1), (None, 2, 3), (4, 2, 5), (0, 2, 3)])
def test_retries_of_the_node_count_before_those_of_the_task(of_node: int | None, of_task: int, attempts: int) -> None:
    def retried(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        node.metadata.ClearField("retries")
        if of_node is not None:
            node.metadata.retries.retries = of_node
        task.metadata.retries.retries = of_task

    policy = only(retried).retry
    assert (policy.max_attempts, policy.system_retries) == (attempts, 3)


def test_the_pause_between_attempts_is_what_the_tasks_config_asks_for() -> None:
    def patient(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        task.config["airscrew/retry.backoff"] = "1.5s"

    assert only(patient).retry.backoff_us == 1_500_000
    assert only(lambda node, task: None).retry.backoff_us == 0


@pytest.mark.parametrize(
    ("of_node", "of_task", "either"),
    [(None, None, None), (True, False, True), (False, True, False), (None, True, True), (None, False, False)],
)
def test_the_node_says_before_its_task_whether_it_may_be_interrupted(
    of_node: bool | None, of_task: bool | None, either: bool | None
) -> None:
    def said(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        if of_node is not None:
            node.metadata.interruptible = of_node
        if of_task is not None:
            task.metadata.interruptible = of_task

    assert only(said).interruptible is either


def test_the_name_is_the_nodes() -> None:
    def named(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        node.metadata.name = "greeting"

    assert only(named).name == "greeting"


def cached_task(task: tasks_pb2.TaskTemplate) -> None:
    task.metadata.discoverable = True
    task.metadata.discovery_version = "1"
    task.metadata.cache_serializable = True
    task.metadata.cache_ignore_input_vars.append("y")


def test_a_task_is_cached_as_it_says() -> None:
    cache = only(lambda node, task: cached_task(task)).cache
    assert cache is not None
    assert (cache.version, cache.serialize, cache.ignored) == ("1", True, {"y"})
    assert only(lambda node, task: None).cache is None


def test_the_node_says_before_its_task_whether_and_how_it_is_cached() -> None:
    def otherwise(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        cached_task(task)
        node.metadata.cacheable = True
        node.metadata.cache_version = "2"
        node.metadata.cache_serializable = False

    def not_here(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        cached_task(task)
        node.metadata.cacheable = False

    def only_here(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        node.metadata.cacheable = True
        node.metadata.cache_version = "3"

    one, none, another = only(otherwise).cache, only(not_here).cache, only(only_here).cache
    assert one is not None
    assert (one.version, one.serialize, one.ignored) == ("2", False, {"y"})
    assert none is None
    assert another is not None
    assert (another.version, another.serialize) == ("3", False)


@pytest.mark.parametrize(
    ("declared", "path", "found"),
    [
        ({"simple": types_pb2.INTEGER}, "n1.o.a", {"a"}),
        ({"collection_type": {"map_value_type": {"simple": types_pb2.INTEGER}}}, "n1.o.a", {"a"}),
        ({"union_type": {"variants": [{"simple": types_pb2.INTEGER}, {"simple": types_pb2.NONE}]}}, "n1.o.a", {"a"}),
        ({"union_type": {"variants": [{"simple": types_pb2.INTEGER}, {"simple": types_pb2.FLOAT}]}}, "n1.o.a", set()),
        ({"simple": types_pb2.FLOAT}, "n1.o.a", set()),
        ({"simple": types_pb2.STRUCT}, "n1.o.a", set()),
        ({"simple": types_pb2.INTEGER}, "n1.o", set()),
    ],
)
def test_inputs_that_are_integers_out_of_structures_are_known(
    declared: dict[str, Any], path: str, found: set[str]
) -> None:
    def typed(closure: Closure) -> None:
        closure.tasks[0].template.interface.inputs.variables["a"].type.CopyFrom(types_pb2.LiteralType(**declared))
        _node(closure, "n0").inputs.extend(bindings({"a": promise(path)}))

    assert at(built(Plan((Step("n1"), Step("n0", ("n1",)))), typed), "n0").integers == found


@pytest.mark.parametrize("bound", [list_of(promise("n1.o"), promise("n1.o.a")), list_of(list_of(promise("n1.o[0]")))])
def test_an_element_of_a_list_may_be_what_comes_out_of_a_structure(bound: literals_pb2.BindingData) -> None:
    def typed(closure: Closure) -> None:
        declared = closure.tasks[0].template.interface.inputs.variables["a"].type
        declared.collection_type.simple = types_pb2.INTEGER
        _node(closure, "n0").inputs.extend(bindings({"a": bound}))

    assert at(built(Plan((Step("n1"), Step("n0", ("n1",)))), typed), "n0").integers == {"a"}


def test_so_may_a_list_that_is_mapped_over() -> None:
    def typed(closure: Closure) -> None:
        closure.tasks[0].template.interface.inputs.variables["x"].type.collection_type.simple = types_pb2.INTEGER
        node = _node(closure, "n0")
        del node.inputs[:]
        node.inputs.extend(bindings({"x": promise("n1.o.a")}))

    plan = Plan((Step("n1"), Step("n0", ("n1",), array=Array(Step("item"), {"x": [1]}))))
    assert at(built(plan, typed), "n0").integers == {"x"}


def test_outputs_of_a_workflow_that_are_integers_out_of_structures_are_known() -> None:
    def typed(closure: Closure) -> None:
        closure.primary.template.interface.outputs.variables["o"].type.simple = types_pb2.INTEGER
        end = _node(closure, END_NODE_ID)
        end.inputs[0].binding.promise.attr_path.add(string_value="a")

    assert at(built(DIAMOND, typed), END_NODE_ID).integers == {"o"}


def test_the_time_allowed_is_the_nodes_and_none_is_unlimited() -> None:
    def timed(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        node.metadata.timeout.FromMilliseconds(1500)

    assert only(timed).time_allowed_us == 1_500_000
    assert only(lambda node, task: None).time_allowed_us == 0


def test_resources_come_from_the_node_then_the_task_then_the_default() -> None:
    def sized(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        task.container.resources.requests.add(name=tasks_pb2.Resources.CPU, value="2")
        task.container.resources.requests.add(name=tasks_pb2.Resources.GPU, value="1")
        node.task_node.overrides.resources.limits.add(name=tasks_pb2.Resources.CPU, value="250m")

    assert only(sized).slots == Slots(250, DEFAULT_SLOTS.memory_bytes, 1)
    assert only(lambda node, task: None).slots == DEFAULT_SLOTS


def test_what_only_waits_or_needs_no_process_takes_no_slot() -> None:
    def eager(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        task.metadata.is_eager = True
        node.task_node.overrides.resources.requests.add(name=tasks_pb2.Resources.CPU, value="2")

    def echo(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        task.type = "echo"

    assert only(eager).slots == only(echo).slots == Slots()


def test_a_bad_override_names_the_node_and_the_field() -> None:
    def broken(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        node.task_node.overrides.resources.requests.add(name=tasks_pb2.Resources.CPU, value="fast")

    with pytest.raises(InvalidArgument, match=r"node n0 resources\.requests\.CPU: 'fast'"):
        only(broken)


def test_the_image_of_the_node_counts_before_that_of_the_task() -> None:
    def other(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        node.task_node.overrides.container_image = "other"

    assert only(other).image == "other"
    assert workflow_pb2.TaskNodeOverrides.FromString(only(other).overrides).container_image == "other"
    assert only(lambda node, task: None).image == "image"


def test_nodes_of_one_task_or_one_workflow_share_it() -> None:
    graph = built(Plan((Step("n0"), Step("n1"), Step("n2", (), INNER), Step("n3", (), INNER))))
    assert at(graph, "n0").task is at(graph, "n1").task
    assert at(graph, "n2").kind is NodeKind.SUBWORKFLOW
    assert at(graph, "n2").graph is at(graph, "n3").graph


def test_a_task_is_known_by_the_digest_of_its_template() -> None:
    def renamed(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> None:
        task.container.args.append("more")

    one, same, other = only(lambda node, task: None).task, only(lambda node, task: None).task, only(renamed).task
    assert one is not None and same is not None and other is not None
    assert one.digest == same.digest != other.digest
    assert one.has_outputs


def test_what_the_closure_lacks_is_a_bug_that_is_named() -> None:
    with pytest.raises(Internal, match="lacks the task p:d:add:v"):
        built(DIAMOND, lambda closure: closure.tasks.pop())
    with pytest.raises(Internal, match="lacks the sub-workflow p:d:inner:v"):
        built(Plan((Step("n0", (), INNER),)), lambda closure: closure.sub_workflows.pop())


def _launch_plan(node: workflow_pb2.Node) -> None:
    node.workflow_node.launchplan_ref.CopyFrom(identifier("lp", "LAUNCH_PLAN"))


def test_a_launch_plan_that_is_not_at_hand_is_named() -> None:
    with pytest.raises(Internal, match=r"node n0: launch plan .* is not at hand"):
        only(lambda node, task: _launch_plan(node))


def test_a_node_that_is_nothing_is_refused() -> None:
    with pytest.raises(Internal, match="node n0: there is no kind of node called None"):
        only(lambda node, task: node.ClearField("task_node"))
