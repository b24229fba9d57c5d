"""Parts of one statement that writes rows of several kinds into PostgreSQL, put together of no more than is needed.

A column of every table is a parameter, an array, of which each takes driver and server some microseconds, however short
it is: for a single node and its attempt a statement with all that a commit may have takes 500 µs, the one that writes
just these two, without the columns that are seldom used, 170.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from libs.store import rows
from libs.store.postgres import Types, arrays, types_of, unnest

NOTHING: Final = 0
"""The kind of a part without rows."""
_USUAL: Final = 1
_ALL: Final = 2


class Part:
    """How rows of one kind are written."""

    def __init__(
        self,
        table: str,
        columns: Sequence[str],
        write: Callable[[Sequence[str], str], str],
        *,
        seldom: Sequence[str] = (),
        name: str = "",
        counted: bool = False,
    ) -> None:
        """`write` makes the SQL from the columns and from what has them as the table `new`. Columns of `seldom` are
        left out where all rows are NULL there."""
        self.name = name or f"new_{table}"
        self.counted = counted
        usual = [name for name in columns if name not in seldom]
        self._columns = (tuple(usual), tuple(columns))
        self._types: Sequence[Types] = [types_of(table, each) for each in self._columns]
        self._write = write
        self._usual = itemgetter(*(columns.index(name) for name in usual))
        self._seldom = itemgetter(*(columns.index(name) for name in seldom)) if seldom else None

    def arrays(self, found: Iterable[rows.Row]) -> tuple[int, Iterable[Any]]:
        """The kind of statement that writes these rows, and its parameters."""
        found = list(found)
        if not found:
            return NOTHING, ()
        if self._seldom is not None:
            if any(value is not None for row in found for value in self._seldom(row)):
                return _ALL, arrays(found, self._types[1])
            found = [self._usual(row) for row in found]
        return _USUAL, arrays(found, self._types[0])

    def statement(self, kind: int) -> str:
        """Part of a WITH; `kind` is not NOTHING."""
        which = kind == _ALL
        columns = self._columns[which]
        return f"{self.name} AS ({self._write(columns, unnest(self._types[which], columns))})"
