"""Keys of the cache: what counts, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flyteidl.core import interface_pb2, literals_pb2, types_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow.caching import KEY_BYTES, cache_key, digest
from libs.workflow.graph import CachePolicy
from libs.workflow.identity import EntityId

TASK = EntityId("p", "d", "task", "v1")


def interface(**inputs: int) -> bytes:
    typed = interface_pb2.TypedInterface()
    for name, simple in inputs.items():
        typed.inputs.variables[name].type.simple = simple
    typed.outputs.variables["o"].type.simple = types_pb2.INTEGER
    return bytes(typed.SerializeToString())


POLICY = CachePolicy("1", interface(x=types_pb2.INTEGER))


def number(value: int) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.primitive.integer = value
    return literal


def hashed(literal: literals_pb2.Literal, of: str) -> literals_pb2.Literal:
    copy = literals_pb2.Literal()
    copy.CopyFrom(literal)
    copy.hash = of
    return copy


def union(inner: literals_pb2.Literal, tag: str = "int") -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.union.value.CopyFrom(inner)
    literal.scalar.union.type.structure.tag = tag
    return literal


def collection(*literals: literals_pb2.Literal) -> literals_pb2.Literal:
    return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=literals))


def mapping(literals: dict[str, literals_pb2.Literal]) -> literals_pb2.Literal:
    return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=literals))


def offloaded(uri: str) -> literals_pb2.Literal:
    return literals_pb2.Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri=uri, size_bytes=5))


def inputs(**literals: literals_pb2.Literal) -> literals_pb2.LiteralMap:
    return literals_pb2.LiteralMap(literals=literals)


ORIGINAL = cache_key(TASK, POLICY, inputs(x=number(1)))

literals = st.recursive(
    st.one_of(
        st.integers(-5, 5).map(number),
        st.text(max_size=3).map(lambda text: hashed(number(0), text) if text else number(0)),
        st.text(max_size=3).map(offloaded),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: collection(*found)),
        st.dictionaries(st.text(max_size=2), inner, max_size=3).map(mapping),
        inner.map(union),
    ),
    max_leaves=8,
)


def test_a_key_is_stable_over_versions_of_this_program() -> None:
    assert len(ORIGINAL) == KEY_BYTES
    assert ORIGINAL.hex() == "0e3a187b7f3f55bbbeefeebb8d31ebf7175da70177554c7744aa4f747bb82075"


@pytest.mark.parametrize(
    "key",
    [
        cache_key(TASK._replace(project="q"), POLICY, inputs(x=number(1))),
        cache_key(TASK._replace(domain="q"), POLICY, inputs(x=number(1))),
        cache_key(TASK._replace(name="q"), POLICY, inputs(x=number(1))),
        cache_key(TASK, replace(POLICY, version="2"), inputs(x=number(1))),
        cache_key(TASK, replace(POLICY, interface=interface(x=types_pb2.FLOAT)), inputs(x=number(1))),
        cache_key(TASK, replace(POLICY, interface=interface(y=types_pb2.INTEGER)), inputs(x=number(1))),
        cache_key(TASK, POLICY, inputs(x=number(2))),
        cache_key(TASK, POLICY, inputs(y=number(1))),
        cache_key(TASK, POLICY, inputs(x=number(1), y=number(1))),
        cache_key(TASK, POLICY, inputs(x=hashed(number(1), "h"))),
        cache_key(TASK, POLICY, inputs(x=collection(number(1)))),
        cache_key(TASK, POLICY, inputs(x=union(number(1)))),
    ],
    ids=range(12),
)
def test_whatever_counts_makes_another_key(key: bytes) -> None:
    assert key != ORIGINAL


def test_the_version_of_the_task_and_words_for_people_do_not_count() -> None:
    described = interface_pb2.TypedInterface.FromString(POLICY.interface)
    described.inputs.variables["x"].description = "a number"
    policy = replace(POLICY, interface=described.SerializeToString())
    literal = number(1)
    literal.metadata["note"] = "hello"
    assert cache_key(TASK._replace(version="v2"), policy, inputs(x=literal)) == ORIGINAL


def test_ignored_inputs_do_not_count() -> None:
    policy = replace(POLICY, ignored=frozenset({"y"}))
    keys = {cache_key(TASK, policy, inputs(x=number(1), y=number(value))) for value in range(3)}
    assert len(keys) == 1


def test_what_lies_elsewhere_is_known_by_its_address_and_rather_by_its_hash() -> None:
    assert digest(offloaded("s3://a")) != digest(offloaded("s3://b"))
    assert digest(hashed(offloaded("s3://a"), "h")) == digest(hashed(offloaded("s3://b"), "h"))


@given(literals, literals, st.text(min_size=1, max_size=5))
def test_a_hash_stands_for_its_value_at_any_depth(
    one: literals_pb2.Literal, other: literals_pb2.Literal, of: str
) -> None:
    one, other = hashed(one, of), hashed(other, of)
    assert digest(collection(one)) == digest(collection(other))
    assert digest(mapping({"a": union(one)})) == digest(mapping({"a": union(other)}))


@given(st.dictionaries(st.text(max_size=3), literals, max_size=6))
def test_the_order_of_maps_does_not_count(values: dict[str, literals_pb2.Literal]) -> None:
    forwards, backwards = mapping(values), mapping(dict(reversed(values.items())))
    assert digest(forwards) == digest(backwards)
    assert cache_key(TASK, POLICY, forwards.map) == cache_key(TASK, POLICY, backwards.map)


def _meaning(literal: literals_pb2.Literal) -> object:
    """What counts of a literal, read slowly."""
    if literal.hash:
        return "hash", literal.hash
    kind = literal.WhichOneof("value")
    if kind == "collection":
        return kind, [_meaning(inner) for inner in literal.collection.literals]
    if kind == "map":
        return kind, {name: _meaning(inner) for name, inner in literal.map.literals.items()}
    if kind == "offloaded_metadata":
        return kind, literal.offloaded_metadata.uri
    if literal.scalar.WhichOneof("value") == "union":
        return "union", literal.scalar.union.type.structure.tag, _meaning(literal.scalar.union.value)
    return kind, literal.scalar.primitive.integer


@given(literals, literals)
def test_literals_count_the_same_exactly_if_they_mean_the_same(
    one: literals_pb2.Literal, other: literals_pb2.Literal
) -> None:
    assert (digest(one) == digest(other)) == (_meaning(one) == _meaning(other))
