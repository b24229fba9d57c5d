"""The graph of an array node: one node, as often as there are items, made when it is looked at.

A hundred thousand items cost a hundred thousand small objects only while they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import overload

from libs.workflow.graph.model import Graph, GraphNode, Shape

_PREFIX = "n"


def items_of(item: GraphNode, count: int) -> Graph:
    """A graph of `count` nodes like `item`, with the ids `n0`, `n1` …; how it ends is the array node's business."""
    return Graph(
        nodes=_Items(item, count),
        index=_Indices(count),
        start=-1,
        end=-1,
        fail_immediately=False,
        shape=Shape.ITEMS,
    )


class _Items(Sequence[GraphNode]):
    def __init__(self, item: GraphNode, count: int) -> None:
        self._count = count
        # Each is made by its constructor: `replace` would take three times as long, for every item of every array.
        assert [field.name for field in fields(GraphNode)[:2]] == ["index", "id"]
        self._rest = tuple(getattr(item, field.name) for field in fields(GraphNode)[2:])

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> GraphNode: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[GraphNode]: ...

    def __getitem__(self, index: int | slice) -> GraphNode | Sequence[GraphNode]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        index %= self._count
        return GraphNode(index, f"{_PREFIX}{index}", *self._rest)


class _Indices(Mapping[str, int]):
    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (f"{_PREFIX}{index}" for index in range(self._count))

    def __getitem__(self, name: str) -> int:
        digits = name.removeprefix(_PREFIX)
        index = int(digits) if digits.isdecimal() else self._count
        if index >= self._count or name != f"{_PREFIX}{index}":
            raise KeyError(name)
        return index
