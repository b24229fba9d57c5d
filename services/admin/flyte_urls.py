"""The grammar of `flyte://v1/…`, Flyte's short names for what a node has read and written.

`flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/(i|o|d)[/<variable>]`: `i` inputs, `o` outputs, `d` deck;
a variable picks one literal of a map. Without an attempt it means the node, whose outputs are those of its last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import ExecutionId

_NAME = "[a-zA-Z0-9_-]+"
_URL = re.compile(
    rf"flyte://v1/(?P<project>{_NAME})/(?P<domain>{_NAME})/(?P<execution>{_NAME})/(?P<node>{_NAME})"
    rf"(?:/(?P<attempt>[0-9]{{1,9}}))?/(?P<kind>[iod])(?:/(?P<variable>{_NAME}))?"
)


class Kind(StrEnum):
    """What of a node is meant."""

    INPUTS = "i"
    OUTPUTS = "o"
    DECK = "d"


@dataclass(frozen=True, slots=True)
class FlyteUrl:
    """One parsed address."""

    execution: ExecutionId
    node_id: str
    attempt: int | None
    kind: Kind
    variable: str
    """Name of one literal, or empty for the whole map."""


def parse(url: str) -> FlyteUrl:
    """Raises `InvalidArgument` for anything outside the grammar."""
    match = _URL.fullmatch(url)
    if match is None:
        raise InvalidArgument(
            f"flyte_url: {url!r} is not "
            "flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/(i|o|d)[/<variable>]"
        )
    kind = Kind(match["kind"])
    if kind is Kind.DECK and match["variable"]:
        raise InvalidArgument(f"flyte_url: {url!r} asks for a variable of a deck")
    return FlyteUrl(
        execution=ExecutionId(match["project"], match["domain"], match["execution"]),
        node_id=match["node"],
        attempt=int(match["attempt"]) if match["attempt"] else None,
        kind=kind,
        variable=match["variable"] or "",
    )


def of_node(execution: ExecutionId, node_id: str, kind: Kind, attempt: int | None = None) -> str:
    """The address of something of a node, or of one of its attempts."""
    middle = "" if attempt is None else f"/{attempt}"
    return f"flyte://v1/{execution.project}/{execution.domain}/{execution.name}/{node_id}{middle}/{kind.value}"
