"""What Flyte's list requests say about filters, order and pages, as the store wants to hear it; and reading on to the
end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from flyteidl.admin import common_pb2

from libs.store.query import Query
from libs.store.records import Page

Item = TypeVar("Item")


def query(request: Any, *, project: str = "", domain: str = "", name: str = "") -> Query:
    """The query of any of Flyte's list requests: they share `limit`, `token` and `sort_by`, and most have `filters`."""
    return Query(
        project=project,
        domain=domain,
        name=name,
        filters=getattr(request, "filters", ""),
        sort_key=request.sort_by.key,
        descending=request.sort_by.direction == common_pb2.Sort.DESCENDING,
        limit=request.limit,
        token=request.token,
    )


async def every(fetch: Callable[[Query], Awaitable[Page[Item]]], query: Query) -> AsyncIterator[Item]:
    """The items of all pages of a list."""
    while True:
        page = await fetch(query)
        for item in page.items:
            yield item
        if not page.token:
            return
        query = replace(query, token=page.token)
