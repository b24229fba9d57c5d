from __future__ import annotations

from flyteidl.admin import description_entity_pb2, task_pb2, workflow_pb2
from flyteidl.core import literals_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2

from libs.workflow import structure
from tests.support.flytetypes import INTEGER, STRING, literal_map
from tests.support.templates import node, task_template, workflow


def branch_with(*after: str) -> core_workflow_pb2.Node:
    case = core_workflow_pb2.IfBlock(then_node=node("n0", "t", after))
    if_else = core_workflow_pb2.IfElseBlock(case=case, other=[case], else_node=node("n1", "t", after))
    return core_workflow_pb2.Node(id="n3", branch_node=core_workflow_pb2.BranchNode(if_else=if_else))


def spec_with(*after: str) -> workflow_pb2.WorkflowSpec:
    template = workflow(node("n2", "t", after), branch_with(*after), inputs={"a": INTEGER})
    template.failure_node.CopyFrom(branch_with(*after))
    return workflow_pb2.WorkflowSpec(template=template, sub_workflows=[workflow(node("n2", "t", after), name="sub")])


def test_the_order_of_upstream_ids_is_no_structure_at_any_depth() -> None:
    one, other = spec_with("n0", "n1"), spec_with("n1", "n0")
    assert one != other
    assert structure.digest(one) == structure.digest(other)
    assert structure.difference(one, other) == ""


def test_the_order_of_a_map_is_no_structure() -> None:
    one, other = literals_pb2.LiteralMap(), literals_pb2.LiteralMap()
    for key in ("a", "b", "c"):
        one.literals[key].scalar.primitive.integer = 1
    for key in ("c", "b", "a"):
        other.literals[key].scalar.primitive.integer = 1
    assert structure.digest(one) == structure.digest(other)


def test_documentation_is_no_structure() -> None:
    template = task_template("t")
    documented = task_pb2.TaskSpec(
        template=template, description=description_entity_pb2.DescriptionEntity(short_description="does it")
    )
    assert structure.digest(documented) == structure.digest(task_pb2.TaskSpec(template=template))


def test_any_other_change_is_told_with_its_path() -> None:
    one, other = spec_with("n0"), spec_with("n0")
    other.template.nodes[0].task_node.reference_id.version = "w"
    assert structure.digest(one) != structure.digest(other)
    assert structure.difference(one, other) == "template.nodes[0].task_node.reference_id.version was 'v' and is 'w'"


def test_what_was_added_removed_and_lengthened_is_told() -> None:
    one = task_template("t", {"a": INTEGER, "b": STRING})
    other = task_template("t", {"a": STRING, "c": STRING})
    other.container.args.append("--more")
    other.ClearField("metadata")
    assert structure.difference(one, other) == (
        "metadata was removed; interface.inputs.variables['a'].type.simple was 1 and is 3; "
        "interface.inputs.variables['b'] was removed; …"
    )


def test_a_difference_of_long_values_is_short() -> None:
    one, other = literal_map(x="a" * 10_000), literal_map(x="b" * 10_000)
    assert len(structure.difference(one, other)) < 300


def test_the_argument_is_not_changed() -> None:
    spec = spec_with("n1", "n0")
    structure.digest(spec)
    assert list(spec.template.nodes[0].upstream_node_ids) == ["n1", "n0"]
