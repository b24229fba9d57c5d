from __future__ import annotations

from flyteidl.core import literals_pb2, types_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow import types
from tests.support import flytetypes as ft

names = st.sampled_from(["a", "b", "c"])
simple_types = st.sampled_from(types_pb2.SimpleType.keys()).map(ft.simple)
columns = st.dictionaries(names, simple_types, max_size=3)
leaves = st.one_of(
    simple_types,
    st.builds(ft.blob, st.sampled_from(["", "csv", "txt"]), st.booleans()),
    st.lists(names, min_size=1, max_size=3, unique=True).map(lambda values: ft.enum(*values)),
    columns.map(lambda them: ft.dataset("parquet", **them)),
    st.dictionaries(names, st.sampled_from(["INTEGER", "FLOAT", "STRING"]), max_size=3).map(
        lambda them: ft.schema(**them)
    ),
    st.builds(ft.tagged, simple_types, names),
)
literal_types = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(ft.listed),
        inner.map(ft.mapped),
        st.lists(inner, min_size=1, max_size=3).map(lambda variants: ft.union(*variants)),
    ),
    max_leaves=8,
)
plain = st.recursive(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=3), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=3)),
    max_leaves=12,
)


@given(literal_types)
def test_every_type_may_be_bound_to_itself(literal_type: types_pb2.LiteralType) -> None:
    copy = types_pb2.LiteralType.FromString(literal_type.SerializeToString())
    assert types.assignable(literal_type, copy)
    assert types.assignable(ft.listed(literal_type), ft.listed(copy))


@given(literal_types, literal_types)
def test_assignability_carries_through_lists_maps_and_single_unions(
    upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType
) -> None:
    if types.assignable(upstream, downstream):
        assert types.assignable(ft.listed(upstream), ft.listed(downstream))
        assert types.assignable(ft.mapped(upstream), ft.mapped(downstream))
        assert types.assignable(ft.union(upstream), downstream)


@given(plain)
def test_a_value_fits_the_type_that_is_inferred_from_it(thing: object) -> None:
    literal = ft.value(thing)
    inferred = types.type_of(literal)
    assert inferred is not None
    assert types.validate(literal, inferred, "x") == []


@given(plain, literal_types)
def test_checking_a_value_accepts_nothing_that_its_type_would_not(
    thing: object, literal_type: types_pb2.LiteralType
) -> None:
    literal: literals_pb2.Literal = ft.value(thing)
    if not types.validate(literal, literal_type, "x"):
        inferred = types.type_of(literal)
        assert inferred is not None
        # Values in one list may take different variants of a union inside: then their one type says less than they do.
        assert types.assignable(inferred, literal_type) or "union_type" in str(literal_type)


@given(st.permutations([1, 2.5, "a", [1], ["b"], {"k": 1}]))
def test_the_type_of_a_list_does_not_depend_on_its_order(things: list[object]) -> None:
    assert types.type_of(ft.value(things)) == types.type_of(ft.value(sorted(things, key=repr)))
