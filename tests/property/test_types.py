from __future__ import annotations

from flyteidl.core import literals_pb2, types_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.workflow import types
from tests.support import flytetypes as ft
from tests.support import slowtypes

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
    st.builds(ft.dataset, st.sampled_from(["", "csv", "Parquet"])),
    st.builds(ft.tagged, simple_types, names),
    st.dictionaries(names, st.sampled_from(["integer", "string"]), max_size=2).map(
        lambda fields: ft.dataclass_type({"properties": {name: {"type": kind} for name, kind in fields.items()}})
    ),
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


@st.composite
def neighbours(draw: st.DrawFn, one: types_pb2.LiteralType) -> types_pb2.LiteralType:
    """A type that differs from another a little or not at all: two random types hardly ever fit."""
    inner = {"collection_type": ft.listed, "map_value_type": ft.mapped}
    kind = one.WhichOneof("type")
    match draw(st.sampled_from(["same", "inside", "tag", "wider", "optional", "single"])):
        case "inside" if kind in inner:
            return inner[kind](draw(neighbours(getattr(one, kind))))
        case "inside" if kind == "union_type":
            return ft.union(*[draw(neighbours(variant)) for variant in one.union_type.variants])
        case "inside" if kind == "structured_dataset_type":
            dataset = one.structured_dataset_type
            columns = {column.name: draw(neighbours(column.literal_type)) for column in dataset.columns}
            return ft.dataset(dataset.format, **columns)
        case "tag":
            return ft.tagged(one, draw(names))
        case "wider":
            return ft.union(one, draw(leaves))
        case "optional":
            return ft.union(one, ft.NONE)
        case "single":
            return ft.union(one)
    return one


pairs = st.one_of(
    st.tuples(leaves, leaves),
    st.tuples(literal_types, literal_types),
    literal_types.flatmap(lambda one: st.tuples(st.just(one), neighbours(one))),
    literal_types.flatmap(lambda one: st.tuples(neighbours(one), st.just(one))),
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


@settings(max_examples=1000)
@given(pairs)
def test_assignability_is_what_the_rules_say_when_read_literally(
    pair: tuple[types_pb2.LiteralType, types_pb2.LiteralType],
) -> None:
    upstream, downstream = pair
    assert types.assignable(upstream, downstream) is slowtypes.assignable(upstream, downstream)


@given(literal_types)
def test_the_rules_when_read_literally_let_every_type_be_bound_to_itself(one: types_pb2.LiteralType) -> None:
    assert slowtypes.assignable(one, one)


@given(pairs)
def test_an_offloaded_value_fits_where_its_recorded_type_does(
    pair: tuple[types_pb2.LiteralType, types_pb2.LiteralType],
) -> None:
    recorded, wanted = pair
    metadata = literals_pb2.LiteralOffloadedMetadata(uri="/x", inferred_type=recorded)
    literal = literals_pb2.Literal(offloaded_metadata=metadata)
    assert (types.validate(literal, wanted, "x") == []) is types.assignable(recorded, wanted)
    listed = ft.value([literal])
    mismatches = types.validate(listed, ft.listed(wanted), "x")
    assert [mismatch.path for mismatch in mismatches] == ([] if types.assignable(recorded, wanted) else ["x[0]"])


@given(st.lists(literal_types, min_size=1, max_size=3))
def test_a_value_that_says_which_variant_of_a_union_it_is_fits_that_union(
    variants: list[types_pb2.LiteralType],
) -> None:
    for variant in variants:
        metadata = literals_pb2.LiteralOffloadedMetadata(uri="/x", inferred_type=variant)
        literal = literals_pb2.Literal()
        literal.scalar.union.type.CopyFrom(variant)
        literal.scalar.union.value.offloaded_metadata.CopyFrom(metadata)
        assert types.validate(literal, ft.union(*variants), "x") == []


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
