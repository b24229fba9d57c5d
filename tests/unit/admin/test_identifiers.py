"""Names are complete and fit before anything is stored."""

from __future__ import annotations

import pytest
from flyteidl.core import identifier_pb2

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId
from services.admin import identifiers

WHOLE = identifier_pb2.Identifier(
    resource_type=identifier_pb2.TASK, project="p", domain="development", name="pkg.mod.task", version="v1"
)


def changed(**parts: str) -> identifier_pb2.Identifier:
    message = identifier_pb2.Identifier()
    message.CopyFrom(WHOLE)
    for name, value in parts.items():
        setattr(message, name, value)
    return message


def test_a_whole_id_becomes_ours() -> None:
    expected = EntityId("p", "development", "pkg.mod.task", "v1")
    assert identifiers.new_entity(WHOLE, identifier_pb2.TASK) == expected


@pytest.mark.parametrize("part", ["project", "domain", "name", "version"])
def test_a_missing_part_is_named(part: str) -> None:
    with pytest.raises(InvalidArgument, match=f"id.{part}: missing"):
        identifiers.entity(changed(**{part: ""}), identifier_pb2.TASK)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("project", "Upper"),
        ("project", "../up"),
        ("project", "-dash"),
        ("project", "x" * 64),
        ("name", "x" * 256),
        ("name", "line\nbreak"),
        ("name", "nul\0"),
        ("version", "has space"),
        ("version", "a/b"),
        ("version", "x" * 256),
        ("org", "mine"),
    ],
)
def test_an_unfit_part_is_refused_at_registration(part: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"id\.{part}: "):
        identifiers.new_entity(changed(**{part: value}), identifier_pb2.TASK)


def test_another_resource_type_is_refused_and_a_missing_one_is_not() -> None:
    with pytest.raises(InvalidArgument, match="resource_type: is TASK, expected WORKFLOW"):
        identifiers.entity(WHOLE, identifier_pb2.WORKFLOW)
    untyped = changed()
    untyped.resource_type = identifier_pb2.UNSPECIFIED
    assert identifiers.entity(untyped, identifier_pb2.WORKFLOW).name == "pkg.mod.task"


def test_the_versions_that_flytekit_makes_are_fit() -> None:
    assert identifiers.new_entity(changed(version="Zq3_x-Y0kR1nC8w"), identifier_pb2.TASK).version == "Zq3_x-Y0kR1nC8w"


@pytest.mark.parametrize("name", ["", "Upper", "1digit", "-dash", "under_score", "x" * 64, "dot.ted", "a\n"])
def test_an_unfit_execution_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="name: "):
        identifiers.fit_execution_name(name)


def test_a_node_is_named_with_its_execution() -> None:
    message = identifier_pb2.NodeExecutionIdentifier(
        node_id="n0", execution_id=identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="e")
    )
    assert identifiers.node(message) == (("p", "d", "e"), "n0")
    with pytest.raises(InvalidArgument, match=r"id\.execution_id\.project: missing"):
        identifiers.node(identifier_pb2.NodeExecutionIdentifier(node_id="n0"))
