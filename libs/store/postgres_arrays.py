"""Columns of rows as PostgreSQL arrays in the wire's binary form.

A commit sends each column as one array. The driver's own list adapter looks at every element to guess the type, and
its guess (int2, int4, int8 by the largest value) would make a new prepared statement per batch. We know the types.

Each has a textual form too, for statements that have their values written into them.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from struct import error as StructError
from typing import Any

from psycopg import pq
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper

from libs.workflow.errors import Refused

_HEADER = Struct("!iIIii")  # dimensions, has nulls, type of the elements, length, lower bound
_EMPTY = Struct("!iII")
_INT8 = Struct("!iq")  # length of the element, element
_LENGTH = Struct("!i")
_NULL = _LENGTH.pack(-1)


class Array:
    """Values of one column."""

    __slots__ = ("values",)
    oid: int
    element: int
    """The server's numbers of the type, and of that of its elements."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values

    def binary(self) -> bytes:
        """All of them in the wire's binary form. Raises Refused for a number that is too large, or no text at all."""
        if not self.values:
            return _EMPTY.pack(0, 0, self.element)
        try:
            return _HEADER.pack(1, 1, self.element, len(self.values), 1) + b"".join(self.encode())
        except (StructError, UnicodeEncodeError) as error:
            raise Refused(f"the database cannot store a value: {error}") from error

    def encode(self) -> Iterable[bytes]:
        raise NotImplementedError

    def write(self, value: Any) -> str:
        """An element, not None, in the textual form."""
        raise NotImplementedError


class Int8Array(Array):
    """int8[], of int or None. Assignment casts it to the column's own width."""

    oid = 1016
    element = 20

    def encode(self) -> Iterable[bytes]:
        pack = _INT8.pack
        return [_NULL if value is None else pack(8, value) for value in self.values]

    def write(self, value: int) -> str:
        return str(value)


class TextArray(Array):
    """text[], of str or None."""

    oid = 1009
    element = 25

    def encode(self) -> Iterable[bytes]:
        return _sized(None if value is None else value.encode() for value in self.values)

    def write(self, value: str) -> str:
        if "\0" in value:
            raise Refused("the database cannot store a value: a text contains a NUL character")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'


class ByteaArray(Array):
    """bytea[], of bytes or None."""

    oid = 1001
    element = 17

    def encode(self) -> Iterable[bytes]:
        return _sized(self.values)

    def write(self, value: bytes) -> str:
        return f'"\\\\x{value.hex()}"'


def _sized(values: Iterable[bytes | None]) -> Iterable[bytes]:
    pack = _LENGTH.pack
    return [_NULL if value is None else pack(len(value)) + value for value in values]


class _ArrayDumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.binary()


class _WrittenArrayDumper(Dumper):
    format = pq.Format.TEXT

    def dump(self, obj: Array) -> bytes:
        written = ",".join("NULL" if value is None else obj.write(value) for value in obj.values)
        return f"{{{written}}}".encode()


def register(context: AdaptContext) -> None:
    """Teaches a connection to send these."""
    for kind in (Int8Array, TextArray, ByteaArray):
        for dumper in (_WrittenArrayDumper, _ArrayDumper):  # where the statement names no form, the last one is taken
            context.adapters.register_dumper(kind, type(f"{kind.__name__}Dumper", (dumper,), {"oid": kind.oid}))
