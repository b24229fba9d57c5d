from __future__ import annotations

import time

import pytest
from flyteidl.core import literals_pb2, types_pb2

from libs.workflow import types
from libs.workflow.errors import InvalidArgument
from tests.support.flytetypes import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    NONE,
    STRING,
    STRUCT,
    blob,
    dataclass_type,
    dataset,
    enum,
    listed,
    mapped,
    schema,
    simple,
    tagged,
    union,
    union_value,
    value,
)

PERSON = dataclass_type(
    {"type": "object", "title": "Person", "properties": {"name": {"type": "string"}}, "required": ["name"]}
)
EMPLOYEE = dataclass_type(
    {
        "type": "object",
        "title": "Employee",
        "properties": {"name": {"type": "string"}, "boss": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    }
)
ROBOT = dataclass_type({"type": "object", "title": "Robot", "properties": {"name": {"type": "integer"}}})
TREE = dataclass_type(
    {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {
                    "left": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
                    "right": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
                },
            }
        },
    }
)
OPTIONAL = union(INTEGER, NONE)

# (upstream, downstream, may be bound)
ASSIGNABILITY = [
    (INTEGER, INTEGER, True),
    (INTEGER, FLOAT, False),
    (FLOAT, INTEGER, False),
    (NONE, INTEGER, False),
    (INTEGER, NONE, False),
    (NONE, NONE, True),
    (PERSON, STRUCT, True),
    (STRUCT, PERSON, True),
    (PERSON, PERSON, True),
    (EMPLOYEE, PERSON, True),
    (PERSON, EMPLOYEE, False),
    (ROBOT, PERSON, False),
    (TREE, TREE, True),
    (TREE, PERSON, False),
    (STRUCT, STRING, False),
    (enum("a", "b"), STRING, True),
    (enum("a", "b"), INTEGER, False),
    (STRING, enum("a", "b"), True),
    (INTEGER, enum("a", "b"), False),
    (enum("a", "b"), enum("a", "b"), True),
    (enum("a", "b"), enum("b", "a"), False),
    (listed(INTEGER), listed(INTEGER), True),
    (listed(NONE), listed(INTEGER), True),
    (listed(INTEGER), listed(FLOAT), False),
    (listed(INTEGER), INTEGER, False),
    (listed(INTEGER), listed(listed(INTEGER)), False),
    (NONE, listed(INTEGER), False),
    (mapped(INTEGER), mapped(INTEGER), True),
    (mapped(NONE), mapped(FLOAT), True),
    (mapped(INTEGER), mapped(FLOAT), False),
    (mapped(INTEGER), listed(INTEGER), False),
    (blob("csv"), blob("csv"), True),
    (blob("csv"), blob(), True),
    (blob(), blob("csv"), True),
    (blob("csv"), blob("txt"), False),
    (blob("csv"), blob("csv", multipart=True), True),
    (blob(), STRING, False),
    (schema(), schema(a="INTEGER"), True),
    (schema(a="INTEGER"), schema(), True),
    (schema(a="INTEGER", b="FLOAT"), schema(a="INTEGER"), True),
    (schema(a="INTEGER"), schema(a="INTEGER", b="FLOAT"), False),
    (schema(a="INTEGER"), schema(a="FLOAT"), False),
    (NONE, schema(), False),
    (dataset(), schema(a="INTEGER"), True),
    (dataset("Parquet", a=INTEGER, b=FLOAT), schema(a="INTEGER"), True),
    (dataset("csv"), schema(), False),
    (schema(a="INTEGER"), dataset(a=INTEGER), True),
    (schema(a="INTEGER"), dataset(a=FLOAT), False),
    (schema(), dataset("csv"), False),
    (NONE, dataset(), True),
    (dataset("parquet"), dataset("PARQUET"), True),
    (dataset("csv"), dataset("parquet"), False),
    (dataset(), dataset("parquet"), True),
    (dataset(a=INTEGER, b=listed(STRING)), dataset(b=listed(STRING)), True),
    (dataset(a=INTEGER), dataset(b=INTEGER), False),
    (dataset(a=INTEGER), dataset(a=FLOAT), False),
    (STRING, union(STRING, INTEGER), True),
    (STRING, union(STRING, tagged(STRING, "other")), False),
    (union(INTEGER, STRING), union(STRING, INTEGER, FLOAT), True),
    (union(INTEGER, STRING), union(STRING, FLOAT), False),
    (union(tagged(INTEGER, "a")), union(tagged(INTEGER, "b")), False),
    (union(INTEGER), INTEGER, True),
    (OPTIONAL, INTEGER, False),
    (INTEGER, OPTIONAL, True),
    (NONE, OPTIONAL, True),
    (listed(INTEGER), listed(OPTIONAL), True),
    (tagged(INTEGER, "int"), INTEGER, False),
    (INTEGER, tagged(INTEGER, "int"), True),
    (tagged(INTEGER, "int"), tagged(INTEGER, "int"), True),
]


@pytest.mark.parametrize(("upstream", "downstream", "expected"), ASSIGNABILITY)
def test_assignability_follows_the_table(
    upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType, expected: bool
) -> None:
    assert types.assignable(upstream, downstream) is expected


def test_a_recursive_class_that_differs_deep_down_is_refused() -> None:
    def tree(leaf: str) -> types_pb2.LiteralType:
        properties = {"next": {"$ref": "#/$defs/T"}, "leaf": {"type": leaf}}
        return dataclass_type({"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": properties}}})

    assert types.assignable(tree("integer"), tree("integer"))
    assert not types.assignable(tree("integer"), tree("string"))


FITTING = [
    (1, INTEGER),
    ("red", enum("red", "blue")),
    ([], listed(INTEGER)),
    ([[1], []], listed(listed(INTEGER))),
    ({"a": [1.5]}, mapped(listed(FLOAT))),
    (None, OPTIONAL),
    ([1, None], listed(OPTIONAL)),
    (union_value(1, INTEGER), OPTIONAL),
    # Of an optional dataset, both variants would take None.
    (union_value(None, NONE), union(dataset(""), NONE)),
    (None, union(dataset(""), NONE)),
    (union_value("a", STRING), union(STRING, enum("a"))),
    (union_value(1, INTEGER), INTEGER),
    (None, dataset("parquet")),
]


@pytest.mark.parametrize(("thing", "literal_type"), FITTING)
def test_a_value_that_fits_has_no_mismatch(thing: object, literal_type: types_pb2.LiteralType) -> None:
    assert types.validate(value(thing), literal_type, "inputs.x") == []


MISFITS = [
    ("a", INTEGER, "inputs.x: expected INTEGER, got STRING"),
    (1, FLOAT, "inputs.x: expected FLOAT, got INTEGER"),
    (None, INTEGER, "inputs.x: expected INTEGER, got NONE"),
    ([1], INTEGER, "inputs.x: expected INTEGER, got a list"),
    ({}, listed(INTEGER), "inputs.x: expected LIST[INTEGER], got a map"),
    ([1, 2, 3, "4"], listed(INTEGER), "inputs.x[3]: expected INTEGER, got STRING"),
    (
        [{"name": 1}, {"name": "two"}],
        listed(mapped(INTEGER)),
        "inputs.x[1].name: expected INTEGER, got STRING",
    ),
    ({"not a word": True}, mapped(STRING), "inputs.x['not a word']: expected STRING, got BOOLEAN"),
    ("green", enum("red", "blue"), "inputs.x: expected ENUM(red, blue), got STRING 'green'"),
    (1, enum("red"), "inputs.x: expected ENUM(red), got INTEGER"),
    (True, OPTIONAL, "inputs.x: expected INTEGER | NONE, got BOOLEAN"),
    (
        "a",
        union(STRING, enum("a")),
        "inputs.x: expected STRING | ENUM(a), got STRING, which is ambiguous: both STRING and ENUM(a) fit",
    ),
    (union_value("a", STRING), OPTIONAL, "inputs.x: expected INTEGER | NONE, got a union value of STRING"),
    (union_value("a", INTEGER), OPTIONAL, "inputs.x: expected INTEGER, got STRING"),
    (literals_pb2.Literal(), INTEGER, "inputs.x: expected INTEGER, got no value"),
    (1, types_pb2.LiteralType(), "inputs.x: expected no type, got INTEGER"),
]


@pytest.mark.parametrize(("thing", "literal_type", "message"), MISFITS)
def test_a_misfit_is_reported_with_its_path(thing: object, literal_type: types_pb2.LiteralType, message: str) -> None:
    assert list(map(str, types.validate(value(thing), literal_type, "inputs.x"))) == [message]
    with pytest.raises(InvalidArgument) as caught:
        types.require(value(thing), literal_type, "inputs.x")
    assert caught.value.message == message


def scalar(**one: object) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(**one))


def blob_value(blob_format: str) -> literals_pb2.Literal:
    metadata = literals_pb2.BlobMetadata(type=types_pb2.BlobType(format=blob_format))
    return scalar(blob=literals_pb2.Blob(metadata=metadata, uri="/x"))


SCALARS = [
    (scalar(binary=literals_pb2.Binary(value=b"x")), simple("BINARY"), STRUCT),
    (scalar(binary=literals_pb2.Binary(value=b"x", tag="msgpack")), STRUCT, simple("BINARY")),
    (scalar(generic={}), PERSON, INTEGER),
    (scalar(error=types_pb2.Error(message="x")), simple("ERROR"), STRUCT),
    (blob_value("csv"), blob("csv"), blob("txt")),
    (scalar(schema=literals_pb2.Schema(type=schema(a="INTEGER").schema)), schema(a="INTEGER"), schema(b="INTEGER")),
    (scalar(structured_dataset=literals_pb2.StructuredDataset(uri="/x")), dataset("csv", a=INTEGER), blob()),
    (value(True), BOOLEAN, INTEGER),
]


@pytest.mark.parametrize(("literal", "right", "wrong"), SCALARS)
def test_each_kind_of_scalar_fits_its_type_only(
    literal: literals_pb2.Literal, right: types_pb2.LiteralType, wrong: types_pb2.LiteralType
) -> None:
    assert types.validate(literal, right, "x") == []
    assert len(types.validate(literal, wrong, "x")) == 1


def test_a_blob_without_metadata_has_no_type_and_fits_nothing() -> None:
    literal = scalar(blob=literals_pb2.Blob(uri="/x"))
    assert types.type_of(literal) is None
    assert "without metadata" in str(types.validate(literal, blob(), "x")[0])


def test_an_offloaded_value_is_judged_by_its_recorded_type() -> None:
    offloaded = literals_pb2.LiteralOffloadedMetadata(uri="/x", inferred_type=listed(INTEGER))
    literal = literals_pb2.Literal(offloaded_metadata=offloaded)
    assert types.validate(literal, listed(INTEGER), "x") == []
    assert str(types.validate(literal, INTEGER, "x")[0]) == "x: expected INTEGER, got LIST[INTEGER]"


def test_an_offloaded_value_in_a_list_is_judged_where_it_stands() -> None:
    offloaded = literals_pb2.LiteralOffloadedMetadata(uri="/x", inferred_type=listed(STRING))
    literal = value([[1], literals_pb2.Literal(offloaded_metadata=offloaded)])
    assert types.validate(literal, listed(listed(INTEGER)), "x") == [
        types.Mismatch("x[1]", "LIST[INTEGER]", "LIST[STRING]")
    ]
    assert types.type_of(literal) == listed(listed(union(INTEGER, STRING)))


def test_an_offloaded_value_that_does_not_record_its_type_fits_nothing() -> None:
    literal = literals_pb2.Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri="/x"))
    assert types.type_of(literal) is None
    assert types.type_of(value([literal])) is None
    assert str(types.validate(literal, INTEGER, "x")[0]) == "x: expected INTEGER, got no type"


INFERRED = [
    ([], listed(NONE)),
    ([1, 2], listed(INTEGER)),
    ([[1], []], listed(listed(INTEGER))),
    ([[1], ["a"]], listed(listed(union(INTEGER, STRING)))),
    ({"a": 1, "b": None}, mapped(union(NONE, INTEGER))),
    (union_value(1, INTEGER), union(INTEGER)),
]


@pytest.mark.parametrize(("thing", "expected"), INFERRED)
def test_the_type_of_a_value_is_inferred(thing: object, expected: types_pb2.LiteralType) -> None:
    assert types.type_of(value(thing)) == expected


NEWER = types_pb2.LiteralType.FromString(bytes([0xFA, 0x07, 0x00]))  # field 127, which today's types lack


def twice_a_column(*kinds: types_pb2.LiteralType) -> types_pb2.LiteralType:
    column = types_pb2.StructuredDatasetType.DatasetColumn
    columns = [column(name="a", literal_type=kind) for kind in kinds]
    return types_pb2.LiteralType(structured_dataset_type=types_pb2.StructuredDatasetType(columns=columns))


CLASS = types_pb2.TypeStructure(dataclass_type={"field": NEWER})

# (declared type, what is wrong with it)
FLAWED = [
    (NEWER, [types.Fault.UNKNOWN]),
    (types_pb2.LiteralType(simple=77), [types.Fault.UNKNOWN]),
    (listed(mapped(NEWER)), [types.Fault.UNKNOWN]),
    (union(INTEGER, NEWER, NEWER), [types.Fault.UNKNOWN, types.Fault.UNKNOWN]),
    (dataset(a=listed(NEWER)), [types.Fault.UNKNOWN]),
    (simple("STRUCT", structure=CLASS), [types.Fault.UNKNOWN]),
    (twice_a_column(INTEGER, STRING), [types.Fault.CONTRADICTORY]),
    (twice_a_column(INTEGER, INTEGER), []),
    (types_pb2.LiteralType(), []),
    (listed(union(enum("a"), schema(a="INTEGER"), blob("csv"), PERSON)), []),
]


@pytest.mark.parametrize(("literal_type", "faults"), FLAWED)
def test_a_type_that_cannot_be_meant_is_told(literal_type: types_pb2.LiteralType, faults: list[types.Fault]) -> None:
    assert [flaw.fault for flaw in types.flaws(literal_type)] == faults


def test_kinds_that_a_newer_client_knows_are_named_by_their_number() -> None:
    column = types_pb2.SchemaType.SchemaColumn(name="a", type=77)
    newer = types_pb2.LiteralType(schema=types_pb2.SchemaType(columns=[column]))
    assert types.describe(newer) == "SCHEMA(a: unknown type 77)"
    assert types.describe(types_pb2.LiteralType(simple=77)) == "unknown type 77"
    assert not types.assignable(INTEGER, types_pb2.LiteralType(simple=77))


def test_a_million_mistakes_are_reported_as_a_few() -> None:
    assert len(types.validate(value(["a"] * 1000), listed(INTEGER), "x")) == 10


def test_a_large_value_is_checked_in_linear_time() -> None:
    def seconds(length: int) -> float:
        literal = value([[index] for index in range(length)])
        start = time.process_time()  # whatever else the machine does
        assert types.validate(literal, listed(listed(OPTIONAL)), "x") == []
        return time.process_time() - start

    seconds(1_000)
    assert seconds(40_000) < 40 * max(seconds(4_000), 0.001)


def test_the_deepest_value_that_the_wire_allows_is_checked() -> None:
    literal, literal_type = value(1), INTEGER
    for _ in range(48):
        literal, literal_type = value([literal]), listed(literal_type)
    assert types.validate(literal, literal_type, "x") == []
    assert types.type_of(literal) == literal_type
