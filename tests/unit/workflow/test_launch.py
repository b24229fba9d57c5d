from __future__ import annotations

from typing import Any

import pytest
from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2
from flyteidl.core import execution_pb2 as execution_messages
from flyteidl.core import interface_pb2, literals_pb2, types_pb2

from libs.workflow import compiler, launch
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId, valid_execution_name
from libs.workflow.state import EMPTY, ExecutionState
from tests.support import stored
from tests.support.flytetypes import FLOAT, INTEGER, NONE, STRING, listed, literal_map, mapped, union, value, variables
from tests.support.templates import task_template

INPUTS = variables(x=INTEGER, name=STRING, xs=listed(mapped(INTEGER)), maybe=union(INTEGER, NONE))


def parameter(literal_type: types_pb2.LiteralType, default: object) -> interface_pb2.Parameter:
    return interface_pb2.Parameter(var=interface_pb2.Variable(type=literal_type), default=value(default))


def plan(
    defaults: dict[str, interface_pb2.Parameter] | None = None, fixed: dict[str, object] | None = None
) -> launch_plan_pb2.LaunchPlanSpec:
    return launch_plan_pb2.LaunchPlanSpec(
        default_inputs=interface_pb2.ParameterMap(parameters=defaults or {}), fixed_inputs=literal_map(**(fixed or {}))
    )


PLAN = plan({"x": parameter(INTEGER, 1), "maybe": parameter(union(INTEGER, NONE), None)}, {"name": "fixed"})
EXPECTED = launch.expected_inputs(INPUTS, PLAN)


def resolved(**given: object) -> literals_pb2.LiteralMap:
    """The long way and the short one, which must agree."""
    known = launch.Asked(EXPECTED, PLAN.fixed_inputs)
    for _ in range(2):
        try:
            full = launch.resolve_inputs(literal_map(**given), EXPECTED, PLAN.fixed_inputs)
        except InvalidArgument as error:
            with pytest.raises(InvalidArgument) as caught:
                known.complete(literal_map(**given))
            assert caught.value.message == error.message
            raise
        assert literals_pb2.LiteralMap.FromString(known.complete(literal_map(**given))) == full
    return full


def test_a_launch_plan_asks_for_what_it_neither_fixes_nor_defaults() -> None:
    assert set(EXPECTED.parameters) == {"x", "xs", "maybe"}
    assert EXPECTED.parameters["xs"].required
    assert EXPECTED.parameters["xs"].var == INPUTS.variables["xs"]
    assert EXPECTED.parameters["x"].default == value(1)
    assert not EXPECTED.parameters["x"].required


def test_an_execution_starts_with_given_default_and_fixed_values() -> None:
    assert resolved(xs=[]) == literal_map(x=1, name="fixed", xs=[], maybe=None)
    assert resolved(xs=[{"a": 1}], x=2, maybe=3) == literal_map(x=2, name="fixed", xs=[{"a": 1}], maybe=3)


REFUSED = [
    ({}, "inputs.xs: is missing: it is required (LIST[MAP[INTEGER]]) and has no default"),
    ({"xs": [], "name": "mine"}, "inputs.name: is fixed by the launch plan and cannot be overridden: leave it out"),
    ({"xs": [], "y": 1}, "inputs.y: there is no such input; inputs are: maybe, x, xs"),
    ({"xs": [{"a": 1}, {"a": "b"}]}, "inputs.xs[1].a: expected INTEGER, got STRING"),
    ({"xs": [], "x": 1.5}, "inputs.x: expected INTEGER, got FLOAT"),
    (
        {"x": "a", "y": 1},
        "inputs.x: expected INTEGER, got STRING; inputs.y: there is no such input; inputs are: maybe, x, xs; inputs.xs:"
        " is missing: it is required (LIST[MAP[INTEGER]]) and has no default",
    ),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_every_input_that_is_wrong_is_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        resolved(**given)
    assert caught.value.message == message


BAD_PLANS = [
    (plan(fixed={"y": 1}), "fixed_inputs.y: the workflow has no such input; inputs are: maybe, name, x, xs"),
    (plan({"y": parameter(INTEGER, 1)}), "default_inputs.y: the workflow has no such input"),
    (plan(fixed={"x": "a"}), "fixed_inputs.x: expected INTEGER, got STRING"),
    (plan({"x": parameter(FLOAT, 1.5)}), "default_inputs.x: expected INTEGER as in the workflow, got FLOAT"),
    (plan({"x": parameter(INTEGER, 1.5)}), "default_inputs.x: expected INTEGER, got FLOAT"),
    (plan({"x": parameter(INTEGER, 1)}, {"x": 1}), "default_inputs.x: is fixed as well"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_PLANS)
def test_a_launch_plan_that_could_not_be_launched_is_refused(bad: launch_plan_pb2.LaunchPlanSpec, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        launch.expected_inputs(INPUTS, bad)
    assert caught.value.message.startswith(message)


def test_inputs_in_the_deprecated_place_are_taken_when_there_are_no_others() -> None:
    spec = execution_pb2.ExecutionSpec(inputs=literal_map(xs=[{"old": 1}]))
    assert launch.given_inputs(spec, literal_map()).literals["xs"] == value([{"old": 1}])
    assert launch.given_inputs(spec, literal_map(xs=[])).literals["xs"] == value([])
    assert not launch.resolve_spec(spec, PLAN).HasField("inputs")


def test_settings_that_an_execution_lacks_are_those_of_the_launch_plan() -> None:
    planned = launch_plan_pb2.LaunchPlanSpec(
        labels=common_pb2.Labels(values={"team": "a"}),
        envs=common_pb2.Envs(values=[literals_pb2.KeyValuePair(key="K", value="plan")]),
        max_parallelism=5,
        raw_output_data_config=common_pb2.RawOutputDataConfig(output_location_prefix="/plan"),
    )
    planned.interruptible.value = True
    own = execution_pb2.ExecutionSpec(
        envs=common_pb2.Envs(values=[literals_pb2.KeyValuePair(key="L", value="own")]),
        raw_output_data_config=common_pb2.RawOutputDataConfig(),
        tags=["t"],
    )
    own.interruptible.value = False
    spec = launch.resolve_spec(own, planned)
    assert spec.labels == planned.labels
    assert spec.max_parallelism == 5
    assert spec.raw_output_data_config.output_location_prefix == "/plan"
    assert [pair.key for pair in spec.envs.values] == ["L"]
    assert spec.interruptible.value is False
    assert list(spec.tags) == ["t"]


def test_a_task_runs_alone_in_a_workflow_of_its_own_name_and_version() -> None:
    template = task_template("my_module.my-task", {"a": INTEGER, "b": STRING}, {"o0": FLOAT})
    template.metadata.retries.retries = 2
    template.metadata.timeout.seconds = 60
    workflow = launch.task_workflow(template)
    assert workflow.id == launch.task_workflow_id(template.id)
    assert (workflow.id.name, workflow.id.version) == (".flytegen.my_module.my-task", "v")
    compiled = compiler.compile_workflow(workflow, (), [compiler.compile_task(template)])
    node = compiled.primary.template.nodes[2]
    assert node.id == "mymodulemytask"
    assert [binding.var for binding in node.inputs] == ["a", "b"]
    assert node.metadata.retries.retries == 2
    assert node.metadata.timeout.seconds == 60
    assert [binding.binding.promise.node_id for binding in compiled.primary.template.outputs] == ["mymodulemytask"]
    assert launch.expected_outputs(workflow.interface) == variables(o0=FLOAT)


def test_a_single_task_execution_requires_every_input() -> None:
    template = task_template("t", {"a": INTEGER}, {})
    expected = launch.expected_inputs(template.interface.inputs)
    with pytest.raises(InvalidArgument, match=r"inputs\.a: is missing"):
        launch.Asked(expected, literals_pb2.LiteralMap()).complete(literal_map())


@pytest.mark.parametrize(("name", "node_id"), [("a" * 100 + ".b", "a" * 62 + "b"), ("...", "task"), ("x_1", "x1")])
def test_a_task_node_is_called_by_the_letters_and_digits_of_its_task(name: str, node_id: str) -> None:
    assert launch.task_node_id(name) == node_id


PLAN_ID = EntityId("p", "d", "plan", "v1")


def parent_with(**spec: Any) -> ExecutionState:
    message = execution_pb2.ExecutionSpec(**spec)
    return stored.execution(77, "parent", root_key=5, shard=3, spec=message.SerializeToString(), principal="anna")


def child_of(parent: ExecutionState, node_id: str = "n1", attempt: int = 0, **changed: Any) -> ExecutionState:
    given: dict[str, Any] = {"inputs": EMPTY, "now_us": 1_700_000_000_000_000, **changed}
    return launch.launch_child(parent, node_id, attempt, PLAN_ID, given.pop("plan", PLAN), PLAN_ID, **given)


def test_a_child_lives_beside_its_parent_and_says_whose_it_is() -> None:
    child = child_of(parent_with(metadata={"nesting": 2}))
    assert (child.root_key, child.shard, child.parent_key, child.parent_node_id) == (5, 3, 77, "n1")
    assert (child.launch_plan, child.workflow, child.principal) == (PLAN_ID, PLAN_ID, "anna")
    metadata = execution_pb2.ExecutionSpec.FromString(child.spec).metadata
    assert metadata.mode == execution_pb2.ExecutionMetadata.CHILD_WORKFLOW
    assert metadata.nesting == 3
    assert metadata.parent_node_execution.node_id == "n1"
    assert metadata.parent_node_execution.execution_id.name == "parent"


def test_the_same_launch_at_the_same_time_is_the_same_child_and_every_other_is_another() -> None:
    parent = parent_with()
    first = child_of(parent)
    assert child_of(parent) == first
    assert valid_execution_name(first.id.name)
    assert first.id.name.isalnum()
    others = [
        child_of(parent, "n2"),
        child_of(parent, attempt=1),
        child_of(parent_with(), now_us=1_700_000_000_001_000),
    ]
    assert len({first.key, *(other.key for other in others)}) == 4
    assert [other.id.name == first.id.name for other in others] == [False, False, True]


def test_thousands_of_children_of_one_moment_have_keys_of_their_own() -> None:
    keys = {child_of(parent_with(), f"n{item}", order=item).key for item in range(2_000)}
    assert len(keys) == 2_000
    assert max(keys) >> 22 == (1_700_000_000_000_000 // 1000) + 1_999


def test_a_child_has_the_settings_of_its_parent_before_those_of_its_launch_plan() -> None:
    planned = launch_plan_pb2.LaunchPlanSpec()
    planned.CopyFrom(PLAN)
    planned.max_parallelism = 5
    planned.annotations.values["from"] = "plan"
    planned.labels.values["team"] = "plan"
    parent = parent_with(
        labels={"values": {"team": "parent"}},
        envs={"values": [{"key": "K", "value": "parent"}]},
        interruptible={"value": True},
        overwrite_cache=True,
        quality_of_service={"tier": execution_messages.QualityOfService.HIGH},
        security_context={"secrets": [{"key": "k"}]},
        raw_output_data_config={"output_location_prefix": "/raw"},
        tags=["mine"],
    )
    spec = execution_pb2.ExecutionSpec.FromString(child_of(parent, plan=planned).spec)
    assert dict(spec.labels.values) == {"team": "parent"}
    assert dict(spec.annotations.values) == {"from": "plan"}
    assert spec.max_parallelism == 5
    assert [pair.value for pair in spec.envs.values] == ["parent"]
    assert spec.interruptible.value
    assert spec.overwrite_cache
    assert launch.priority(spec) == 2
    assert spec.security_context.secrets[0].key == "k"
    assert spec.raw_output_data_config.output_location_prefix == "/raw"
    assert not spec.tags


def test_a_child_recovers_the_execution_that_it_is_told() -> None:
    assert child_of(parent_with()).recovers_key is None
    assert child_of(parent_with(), recovers_key=9).recovers_key == 9


@pytest.mark.parametrize(("tier", "urgency"), [("HIGH", 2), ("MEDIUM", 1), ("LOW", 0), ("UNDEFINED", 0)])
def test_the_tier_of_an_execution_is_its_priority(tier: str, urgency: int) -> None:
    spec = execution_pb2.ExecutionSpec()
    spec.quality_of_service.tier = execution_messages.QualityOfService.Tier.Value(tier)
    assert launch.priority(spec) == urgency
