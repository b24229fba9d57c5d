"""Every request is held against the table of fields before anything else looks at it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from libs.workflow import fields
from libs.workflow.backend import Backend

_Servicer = TypeVar("_Servicer", bound=type)
_Method = Callable[[Any, Any, Any], Awaitable[Any]]


def checked(servicer: _Servicer) -> _Servicer:
    """Class decorator: each RPC that `servicer` defines refuses requests with fields that have no effect and should.

    A servicer whose requests can bring tasks says by its attribute `backend` how those are run.
    """
    for name, method in list(vars(servicer).items()):
        if name[0].isupper():
            setattr(servicer, name, _checked(method))
    return servicer


def _checked(method: _Method) -> _Method:
    @functools.wraps(method)
    async def check(self: Any, request: Message, context: Any) -> Any:
        fields.refuse(request, backend=getattr(self, "backend", Backend.PROCESS))
        return await method(self, request, context)

    return check
