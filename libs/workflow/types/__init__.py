"""Flyte's type system: which value fits where.

Five questions, each answered by one module:

- `assign.assignable(upstream, downstream)`: may a value of one type be bound to a variable of another? The compiler
  asks this of every promise.
- `infer.type_of(literal)`: which type does this value have?
- `check.validate(literal, literal_type)`: does this value fit that type, and if not, *where* not? Whoever accepts
  values from outside asks this; it is `assignable(type_of(literal), literal_type)` with the place of the mismatch, and
  stricter where the value itself tells more than its type (a string that is not among an enum's values).
- `declared.flaws(literal_type)`: what is wrong with a type itself, whatever the value?
- `text.describe(literal_type)`: a type in words, for error messages.

The rules are those of Flyte's compiler, so that what it accepts is accepted here. Everything recurses as deep as the
message is nested: protobuf itself refuses messages nested deeper than 100, far below Python's recursion limit.
"""

from __future__ import annotations

from libs.workflow.types.assign import assignable
from libs.workflow.types.check import Mismatch, require, validate
from libs.workflow.types.declared import Fault, Flaw, flaws
from libs.workflow.types.infer import type_of, type_of_scalar
from libs.workflow.types.text import describe

__all__ = [
    "Fault",
    "Flaw",
    "Mismatch",
    "assignable",
    "describe",
    "flaws",
    "require",
    "type_of",
    "type_of_scalar",
    "validate",
]
