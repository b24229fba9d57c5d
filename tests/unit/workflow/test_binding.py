"""What a node gets as inputs: promises, paths into values, and what is said when there is nothing there."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import json_format, struct_pb2

from libs.workflow.binding import BindingError, NotRead, follow, loaded, resolve
from tests.support.templates import constant, list_of, map_of, promise


def primitive(thing: int | str | bool | float) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    kind = {bool: "boolean", int: "integer", float: "float_value", str: "string_value"}[type(thing)]
    setattr(literal.scalar.primitive, kind, thing)
    return literal


def collection(*elements: literals_pb2.Literal) -> literals_pb2.Literal:
    return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=elements))


def mapping(**elements: literals_pb2.Literal) -> literals_pb2.Literal:
    return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=elements))


def packed(thing: Any, tag: str = "msgpack") -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.binary.value, literal.scalar.binary.tag = msgpack.packb(thing), tag
    return literal


def raw(data: bytes) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.binary.value, literal.scalar.binary.tag = data, "msgpack"
    return literal


def struct(thing: dict[str, Any]) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.generic.CopyFrom(json_format.ParseDict(thing, struct_pb2.Struct()))
    return literal


def union(inner: literals_pb2.Literal) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.union.value.CopyFrom(inner)
    literal.scalar.union.type.simple = types_pb2.INTEGER
    return literal


def none() -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.none_type.SetInParent()
    return literal


def path(*steps: int | str) -> list[types_pb2.PromiseAttribute]:
    return [
        types_pb2.PromiseAttribute(int_value=step)
        if isinstance(step, int)
        else types_pb2.PromiseAttribute(string_value=step)
        for step in steps
    ]


def bound(binding: literals_pb2.BindingData, **outputs: literals_pb2.Literal) -> literals_pb2.Literal:
    """What `binding` becomes; `n0__o` is the output `o` of node `n0`, `start__x` an input of the workflow."""
    known = {tuple(name.split("__")): literal for name, literal in outputs.items()}

    def lookup(node_id: str, var: str) -> literals_pb2.Literal:
        found = known.get((node_id.removesuffix("-node"), var))
        if found is None:
            raise BindingError(f"node {node_id} has no output {var!r}")
        return found

    return resolve([literals_pb2.Binding(var="v", binding=binding)], lookup).literals["v"]


def test_a_constant_is_taken_as_it_is() -> None:
    assert bound(constant(3)) == primitive(3)


def test_a_promise_without_a_node_reads_an_input_of_the_workflow() -> None:
    assert bound(promise("x"), start__x=primitive(5)) == primitive(5)


def test_a_promise_reads_the_output_of_a_node_with_everything_in_it() -> None:
    whole = mapping(a=collection(primitive(1), none()))
    assert bound(promise("n0.o"), n0__o=whole) == whole


def test_lists_and_maps_of_bindings_become_collections_and_maps_even_when_they_are_empty() -> None:
    nested = bound(list_of(constant(1), map_of(k=promise("n0.o"))), n0__o=primitive("s"))
    assert nested == collection(primitive(1), mapping(k=primitive("s")))
    assert bound(list_of()).WhichOneof("value") == "collection"
    assert bound(map_of()).WhichOneof("value") == "map"


def test_a_binding_of_nothing_is_none() -> None:
    assert bound(literals_pb2.BindingData()) == none()


def test_an_element_of_a_node_that_makes_a_list_is_named_before_the_variable() -> None:
    binding = literals_pb2.BindingData(promise=types_pb2.OutputReference(node_id="n0", var="[1].o"))
    assert bound(binding, n0__o=collection(primitive(1), primitive(2))) == primitive(2)
    with pytest.raises(BindingError, match=r"v: n0\.o has 1 elements, no element 1"):
        bound(binding, n0__o=collection(primitive(1)))


@pytest.mark.parametrize("var", ["", "a.b", "[x].o", "[1]o", "[-1].o"])
def test_what_is_no_variable_name_is_refused(var: str) -> None:
    binding = literals_pb2.BindingData(promise=types_pb2.OutputReference(node_id="n0", var=var))
    with pytest.raises(BindingError, match="is not the name of an output of n0"):
        bound(binding)


def test_an_error_names_the_variable_that_could_not_be_bound() -> None:
    with pytest.raises(BindingError, match="v: node n0 has no output 'o'"):
        bound(promise("n0.o"))


DEEP = {"list": [1, {"name": "x"}], "none": None, "true": True, "f": 1.5, "s": "text", "big": 2**40}

FOUND = {
    "an element of a list": (collection(primitive(1), primitive(2)), (1,), primitive(2)),
    "a value of a map": (mapping(a=primitive(1)), ("a",), primitive(1)),
    "a list in a map in a list": (collection(mapping(a=collection(primitive(7)))), (0, "a", 0), primitive(7)),
    "through a union": (union(collection(primitive(1))), (0,), primitive(1)),
    "through unions inside a list": (collection(union(mapping(a=primitive(2)))), (0, "a"), primitive(2)),
    "an integer in msgpack stays one": (packed(DEEP), ("big",), primitive(2**40)),
    "a float in msgpack": (packed(DEEP), ("f",), primitive(1.5)),
    "text in msgpack": (packed(DEEP), ("s",), primitive("text")),
    "a truth in msgpack is no number": (packed(DEEP), ("true",), primitive(True)),
    "none in msgpack": (packed(DEEP), ("none",), none()),
    "a list in msgpack becomes literals": (packed({"a": [1, "b"]}), ("a",), collection(primitive(1), primitive("b"))),
    "an object in msgpack stays msgpack": (packed(DEEP), ("list", 1), packed({"name": "x"})),
    "a field of an object in a list in msgpack": (packed(DEEP), ("list", 1, "name"), primitive("x")),
    "bytes in msgpack": (packed({"b": b"\x00"}), ("b",), packed(b"\x00")),
    "a number in a struct is a float": (struct(DEEP), ("big",), primitive(float(2**40))),
    "a field of an object in a list in a struct": (struct(DEEP), ("list", 1, "name"), primitive("x")),
    "an object in a struct becomes msgpack": (struct(DEEP), ("list", 1), packed({"name": "x"})),
    "none in a struct": (struct(DEEP), ("none",), none()),
    "a truth in a struct": (struct(DEEP), ("true",), primitive(True)),
    "msgpack inside a list of literals": (collection(packed({"a": 1})), (0, "a"), primitive(1)),
}


@pytest.mark.parametrize(("literal", "steps", "found"), FOUND.values(), ids=FOUND)
def test_a_path_finds(literal: literals_pb2.Literal, steps: tuple[int | str, ...], found: literals_pb2.Literal) -> None:
    assert follow(literal, path(*steps), "n0.o") == found


NUMBERS = {"n": 3, "half": 2.5, "list": [1, 2, 2.5], "far": 2.0**60, "text": "3", "none": None}


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("n", primitive(3)),
        ("half", primitive(2.5)),
        ("list", collection(primitive(1), primitive(2), primitive(2.5))),
        ("far", primitive(2.0**60)),
        ("text", primitive("3")),
        ("none", none()),
    ],
)
def test_numbers_in_a_struct_are_integers_where_integers_are_declared_and_nothing_is_lost(
    field: str, found: literals_pb2.Literal
) -> None:
    binding = literals_pb2.Binding(var="x", binding=promise(f"n0.o.{field}"))
    assert resolve([binding], lambda node_id, var: struct(NUMBERS), integers={"x"}).literals["x"] == found


def test_other_numbers_stay_as_they_are() -> None:
    binding = literals_pb2.Binding(var="y", binding=promise("n0.o.n"))
    assert resolve([binding], lambda node_id, var: struct(NUMBERS), integers={"x"}).literals["y"] == primitive(3.0)


MISSING = {
    "an index beyond a list": (collection(), (0,), "n0.o has 0 elements, no element 0"),
    "a negative index": (collection(primitive(1)), (-1,), "n0.o has 1 elements, no element -1"),
    "a negative index in msgpack": (packed([1]), (-1,), "n0.o has 1 elements, no element -1"),
    "a name in a list": (collection(primitive(1)), ("a",), "indexed by a number, not by 'a'"),
    "a name in a list in msgpack": (packed([1]), ("a",), "indexed by a number, not by 'a'"),
    "a key that is not there": (mapping(), ("a",), "n0.o has no key 'a'"),
    "a position in a map": (mapping(a=primitive(1)), (0,), "n0.o has names, not positions: 0"),
    "a position in an object": (packed({"a": 1}), (0,), "n0.o has names, not positions: 0"),
    "an attribute that is not there": (struct({"a": {}}), ("a", "b"), "n0.o.a has no attribute 'b'"),
    "a step into a plain literal": (primitive(1), ("a",), "not a list, a map or a structure"),
    "a step into nothing": (none(), ("a",), "not a list, a map or a structure"),
    "a step into a plain value": (packed({"a": 1}), ("a", "b"), "n0.o.a is a plain value: it has no .b"),
    "the place where it goes wrong": (collection(mapping(a=collection())), (0, "a", 3), r"n0.o\[0\].a has 0 elements"),
    "other binary data": (packed({"a": 1}, tag="cbor"), ("a",), "tagged 'cbor': only msgpack has attributes"),
    "what is no msgpack": (raw(b"\xc1"), ("a",), "n0.o is not valid msgpack"),
    "msgpack that is cut off": (raw(b"\x92\x01"), (0,), "n0.o is not valid msgpack"),
    "msgpack whose keys are lists": (raw(b"\x81\x91\x01\x02"), ("a",), "n0.o is not valid msgpack"),
    "an integer that no literal holds": (packed({"a": 2**64 - 1}), ("a",), "does not fit a 64-bit integer"),
}


@pytest.mark.parametrize(("literal", "steps", "reason"), MISSING.values(), ids=MISSING)
def test_a_path_to_nowhere_is_an_error_that_says_where_it_ended(
    literal: literals_pb2.Literal, steps: tuple[int | str, ...], reason: str
) -> None:
    with pytest.raises(BindingError, match=reason):
        follow(literal, path(*steps), "n0.o")


def offloaded(uri: str) -> literals_pb2.Literal:
    return literals_pb2.Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri=uri))


def test_an_offloaded_literal_is_passed_on_without_being_read() -> None:
    assert bound(promise("n0.o"), n0__o=offloaded("blob:/o")) == offloaded("blob:/o")


def test_a_path_leads_into_offloaded_literals_once_they_are_read() -> None:
    deep = collection(mapping(a=offloaded("blob:/inner")))
    known = {"blob:/outer": deep, "blob:/inner": packed({"n": 2})}
    assert follow(offloaded("blob:/outer"), path(0, "a", "n"), "n0.o", known.__getitem__) == primitive(2)
    with pytest.raises(NotRead) as caught:
        follow(deep, path(0, "a", "n"), "n0.o")
    assert caught.value.uri == "blob:/inner"


def test_an_element_that_is_named_before_the_variable_may_be_of_an_offloaded_list() -> None:
    binding = literals_pb2.BindingData(promise=types_pb2.OutputReference(node_id="n0", var="[1].o"))
    with pytest.raises(NotRead) as caught:
        bound(binding, n0__o=offloaded("blob:/o"))
    assert caught.value.uri == "blob:/o"


def test_whoever_looks_at_literals_has_the_offloaded_ones_in_their_place() -> None:
    literals = literals_pb2.LiteralMap(literals={"a": primitive(1), "b": offloaded("blob:/b")})
    whole = loaded(literals, {"blob:/b": primitive(2)}.__getitem__)
    assert whole == literals_pb2.LiteralMap(literals={"a": primitive(1), "b": primitive(2)})
    assert literals.literals["b"] == offloaded("blob:/b")
