"""What an intake may be, what its items mean, and how their executions are called."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.core import interface_pb2, literals_pb2

from libs.workflow import identity
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId
from libs.workflow.intake import Codec, Intake, IntakeId, Kind, Source, decode, name_of
from tests.support.flytetypes import FLOAT, INTEGER, NONE, STRING, listed, simple, union, value

ID = IntakeId("shop", "development", "sales")


def intake(**changed: Any) -> Intake:
    return Intake(
        **{
            "id": ID,
            "source": "redis://h/tasks",
            "kind": Kind.LIST,
            "codec": Codec.JSON,
            "launch_plan": EntityId("shop", "development", "shop.sell", "v1"),
            **changed,
        }
    )


def expected(**types: Any) -> interface_pb2.ParameterMap:
    found = interface_pb2.ParameterMap()
    for name, wanted in types.items():
        found.parameters[name].var.type.CopyFrom(wanted)
    return found


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("redis://h/tasks", Source(False, "", "h", 6379, 0, "tasks")),
        ("redis://h:1/2/tasks", Source(False, "", "h", 1, 2, "tasks")),
        ("rediss://me@h/a/b", Source(True, "me", "h", 6379, 0, "a/b")),
        ("redis://h/7", Source(False, "", "h", 6379, 0, "7")),
        ("redis://h/tasks%20%3F", Source(False, "", "h", 6379, 0, "tasks ?")),
        ("redis://[::1]:5/0/7", Source(False, "", "::1", 5, 0, "7")),
    ],
)
def test_a_source_names_server_database_and_key(text: str, meant: Source) -> None:
    assert Source.parse(text) == meant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://h/tasks", "redis://"),
        ("tasks", "redis://"),
        ("redis:///tasks", "redis://"),
        ("redis://h", "no key"),
        ("redis://h/", "no key"),
        ("redis://h/2/", "no key"),
        ("redis://h:x/tasks", "source: "),
        ("redis://me:secret@h/tasks", "REDIS_PASSWORDS"),
        ("redis://h/tasks?db=1", "%3F"),
    ],
)
def test_what_is_no_source_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match="source: ") as caught:
        intake(source=text)
    assert words in caught.value.message and "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"id": IntakeId("p", "d", "Sales")}, "id.name"),
        ({"id": IntakeId("p", "d", "")}, "id.name"),
        ({"limit": 0}, "limit"),
        ({"tries": -1}, "tries"),
        ({"codec": Codec.LITERALS, "id_field": "id"}, "id_field"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{field}: "):
        intake(**changed)


def test_json_is_read_by_the_types_of_the_inputs() -> None:
    inputs = expected(x=INTEGER, y=FLOAT, all=listed(STRING), maybe=union(INTEGER, NONE))
    found = decode(intake(), b'{"x": 3, "y": 1, "all": ["a"], "maybe": null}', inputs)
    assert found.own_id is None
    assert found.inputs.literals["x"] == value(3) and found.inputs.literals["y"] == value(1.0)
    assert found.inputs.literals["all"] == value(["a"])
    assert found.inputs.literals["maybe"].scalar.union.value.scalar.HasField("none_type")


def test_times_without_zone_are_utc() -> None:
    found = decode(intake(), b'{"at": "2026-01-31T12:00:00"}', expected(at=simple("DATETIME")))
    assert found.inputs.literals["at"].scalar.primitive.datetime.ToJsonString() == "2026-01-31T12:00:00Z"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode(intake(), b'{"x": "a", "y": 1}', expected(x=INTEGER, who=STRING))
    assert caught.value.message == 'inputs.x: "a" is not INTEGER; inputs.y: there is no such input; inputs are: who, x'


@pytest.mark.parametrize(
    "item",
    [
        b"",
        b"no",
        b"\xff",
        b"[]",
        b"3",
        b'{"x": 1' * 9000,
        b"[" * 100_000,
        b'{"x": 1e400}',
        b'{"x": %s}' % (b"9" * 5000),
    ],
)
def test_no_item_is_more_than_wrong(item: bytes) -> None:
    with pytest.raises(InvalidArgument):
        decode(intake(), item, expected(x=INTEGER))


def test_an_id_that_is_no_input_is_taken_out() -> None:
    found = decode(intake(id_field="id"), b'{"x": 3, "id": "a"}', expected(x=INTEGER))
    assert found.own_id == "a" and list(found.inputs.literals) == ["x"]


def test_an_id_that_is_an_input_stays() -> None:
    found = decode(intake(id_field="x"), b'{"x": 3}', expected(x=INTEGER))
    assert found.own_id == "3" and list(found.inputs.literals) == ["x"]


@pytest.mark.parametrize("id", [b"null", b"true", b'""', b"[1]", b"1.5", b'"\\ud800"'])
def test_an_item_without_the_id_that_it_should_have_is_wrong(id: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^id: "):
        decode(intake(id_field="id"), b'{"x": 3, "id": %s}' % id, expected(x=INTEGER))


def test_literals_are_read_strictly() -> None:
    inputs = literals_pb2.LiteralMap(literals={"x": value(3)})
    strict = intake(codec=Codec.LITERALS)
    assert decode(strict, inputs.SerializeToString(), expected(x=INTEGER)).inputs == inputs
    for item in (b"\x0a\xff", b"\x10\x01", b'{"x": 3}'):
        with pytest.raises(InvalidArgument, match="LiteralMap"):
            decode(strict, item, expected(x=INTEGER))


def test_names_follow_from_claim_and_content_or_from_the_id_alone() -> None:
    name = name_of(ID, "1", b"item", None)
    assert identity.valid_execution_name(name)
    assert name_of(ID, "1", b"item", None) == name
    others = {
        name_of(ID, "2", b"item", None),
        name_of(ID, "1", b"itme", None),
        name_of(ID._replace(name="other"), "1", b"item", None),
        name_of(ID._replace(domain="production"), "1", b"item", None),
        name_of(ID, "1i", b"tem", None),
        name_of(ID, "1", b"item", "1"),
    }
    assert len(others | {name}) == 7
    assert name_of(ID, "1", b"item", "own") == name_of(ID, "2", b"another", "own")
