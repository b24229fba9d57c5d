"""A list request as one SQL query, and its rows as a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select, and_, exists
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import Integer

from libs.store import query, schema
from libs.store.fields import Entity, Field
from libs.store.records import Page
from libs.workflow.errors import InvalidArgument

T = TypeVar("T")

_COMPARISONS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operators.eq,
    "ne": operators.ne,
    "gt": operators.gt,
    "gte": operators.ge,
    "lt": operators.lt,
    "lte": operators.le,
}


def select_page(statement: Select[Any], entity: Entity, asked: query.Query) -> Select[Any]:
    """`statement`, which selects rows of `entity`, narrowed, ordered and cut as asked. Give its rows to `page_of`.

    Raises InvalidArgument naming the part of the request that is wrong.
    """
    conditions = [*_scope(entity, asked), *_filters(entity, asked.filters)]
    # One row more than asked for says whether there is another page.
    return statement.where(*conditions).order_by(*_order(entity, asked)).limit(asked.rows + 1).offset(asked.offset)


def page_of(rows: Sequence[Row[Any]], asked: query.Query, item: Callable[[Row[Any]], T]) -> Page[T]:
    """The page that `rows` are."""
    token = str(asked.offset + asked.rows) if len(rows) > asked.rows else ""
    return Page([item(row) for row in rows[: asked.rows]], token)


def _scope(entity: Entity, asked: query.Query) -> list[ColumnElement[bool]]:
    wanted = {"project": asked.project, "domain": asked.domain, "name": asked.name}
    return [entity.fields[part].expression == value for part, value in wanted.items() if value]


def _filters(entity: Entity, written: str) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    of_tags: list[ColumnElement[bool]] = []
    for asked in query.parse(written):
        field = entity.field(asked.field, "filters")
        (of_tags if field.of_tags else conditions).append(_condition(field, asked))
    if of_tags:
        tags = schema.execution_tags
        conditions.append(exists().where(tags.c.execution_key == schema.executions.c.key, and_(*of_tags)))
    return conditions


def _condition(field: Field, asked: query.Filter) -> ColumnElement[bool]:
    if asked.function in query.TEXT_ONLY and field.kind is not query.Kind.TEXT:
        raise InvalidArgument(f"filters: {asked.field}: {asked.function} needs a field of texts")
    values = [query.value_of(field.kind, text, asked.field, field.names) for text in asked.values]
    match asked.function:
        case "value_in":
            return field.expression.in_(values)
        case "value_not_in":
            return field.expression.not_in(values)
        case "contains":
            return _position(field.expression, values[0]) > 0
        case "not_like":
            return field.expression.not_like(values[0])
        case comparison:
            return _COMPARISONS[comparison](field.expression, values[0])


def _order(entity: Entity, asked: query.Query) -> list[ColumnElement[Any]]:
    descending = asked.descending if asked.sort_key else entity.descending
    field = entity.field(asked.sort_key or entity.sort_key, "sort_by.key")
    if field.of_tags:
        raise InvalidArgument(f"sort_by.key: {entity.name} cannot be sorted by {asked.sort_key}")
    first = field.expression.desc() if descending else field.expression.asc()
    if field.may_be_null:  # the databases disagree on where NULL belongs
        first = first.nulls_last()
    return [first, *(key.desc() if descending else key.asc() for key in entity.key)]


class _position(GenericFunction[int]):
    """Where a text begins in another, from 1; 0 when it does not occur."""

    type = Integer()
    inherit_cache = True
    name = "strpos"


@compiles(_position, "sqlite")
def _position_in_sqlite(element: _position, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"
