"""Values that are made by the thousand and never changed.

For the type checker `@frozen` is `@dataclass(frozen=True, slots=True)`, and so it is for readers; equality and hash are
those too. Only at run time nothing refuses an assignment, for that refusal has its price when a value is made: nine
fields take 2.3 µs instead of 0.25, and for every task of an execution dozens of values are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Makes a class a dataclass whose objects are not changed once they are made."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
