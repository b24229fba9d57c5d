"""Where things lie below the root of the blob store: Flyte's layout, which its clients take apart in places.

    metadata/propeller/<project>-<domain>-<execution>/<node>/data/inputs.pb
    metadata/propeller/<project>-<domain>-<execution>/<node>/data/<attempt>/{outputs,error,futures}.pb, deck.html
    metadata/propeller/<project>-<domain>-<execution>/<node>/data/<attempt>/dynamic_compiled.pb
    raw/<project>-<domain>-<execution>/<node>/<attempt>/…      what task code stores itself
    logs/<project>-<domain>-<execution>/<node>/<attempt>.log
    uploads/<project>/<domain>/<folder>/<file>                 what clients upload

Where project or domain have a hyphen of their own, an execution's parts are joined by dots, which none of them can
have: `a`, `b`, `b-c` and `a-b`, `b`, `c` are two executions and must not share their files.

Each attempt has its own place, so a late attempt never overwrites another's results. `root` is a uri without a slash at
the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import ExecutionId

INPUTS = "inputs.pb"
OUTPUTS = "outputs.pb"
ERROR = "error.pb"
FUTURES = "futures.pb"
DECK = "deck.html"
COMPILED = "dynamic_compiled.pb"
"""What the engine made of `FUTURES`."""


def execution_prefix(root: str, id: ExecutionId) -> str:
    """Of everything that the engine keeps about an execution."""
    return f"{root}/metadata/propeller/{_execution(id)}"


class Places:
    """The places of one execution's nodes and attempts, for those who need many of them; as the functions below say."""

    __slots__ = ("_kept", "_logs", "_raw")

    def __init__(self, root: str, id: ExecutionId, raw_root: str) -> None:
        """`raw_root` is where what attempts store themselves begins."""
        name = _execution(id)
        self._kept = f"{root}/metadata/propeller/{name}"
        self._raw = f"{raw_root.rstrip('/')}/raw/{name}"
        self._logs = f"{root}/logs/{name}"

    def attempt_prefix(self, node: str, attempt: int) -> str:
        return f"{self._kept}/{_segment('node', node)}/data/{attempt}"

    def raw_prefix(self, node: str, attempt: int) -> str:
        return f"{self._raw}/{_segment('node', node)}/{attempt}"

    def log_uri(self, node: str, attempt: int) -> str:
        return f"{self._logs}/{_segment('node', node)}/{attempt}.log"


def execution_prefixes(root: str, id: ExecutionId) -> Sequence[str]:
    """All places of an execution below the root: what the engine keeps, what its tasks store, what they print."""
    return execution_prefix(root, id), f"{root}/raw/{_execution(id)}", f"{root}/logs/{_execution(id)}"


def references(root: str, *contents: bytes) -> set[ExecutionId]:
    """The executions whose places are named somewhere in `contents`, whatever these are: literals, JSON, text.

    Only what stands there in the clear is found, not what is compressed or in another file.
    """
    found = {match.decode() for content in contents for match in _place(root).findall(content)}
    return {id for segment in found if (id := _identified(segment)) is not None}


def node_inputs(root: str, id: ExecutionId, node: str) -> str:
    """The inputs of a node, the same for all its attempts."""
    return f"{execution_prefix(root, id)}/{_segment('node', node)}/data/{INPUTS}"


def attempt_prefix(root: str, id: ExecutionId, node: str, attempt: int) -> str:
    """Of an attempt's outputs, error and deck."""
    return f"{execution_prefix(root, id)}/{_segment('node', node)}/data/{attempt}"


def raw_prefix(root: str, id: ExecutionId, node: str, attempt: int) -> str:
    """Of what an attempt's own code stores. `root` is the store's, or the one that the submitter chose instead."""
    return f"{root.rstrip('/')}/raw/{_execution(id)}/{_segment('node', node)}/{attempt}"


def log_uri(root: str, id: ExecutionId, node: str, attempt: int) -> str:
    """What an attempt wrote to its standard output and error."""
    return f"{root}/logs/{_execution(id)}/{_segment('node', node)}/{attempt}.log"


def upload_uri(root: str, project: str, domain: str, folder: str, filename: str) -> str:
    """A file that a client uploads. Raises InvalidArgument for a name that is not one segment of a path."""
    segments = {"project": project, "domain": domain, "filename_root": folder, "filename": filename}
    return "/".join([root, "uploads", *(_segment(field, value) for field, value in segments.items())])


def _execution(id: ExecutionId) -> str:
    joint = "." if "-" in id.project + id.domain else "-"
    return _segment("execution", joint.join(id))


@cache
def _place(root: str) -> re.Pattern[bytes]:
    return re.compile(re.escape(root.encode()) + rb"/(?:metadata/propeller|raw|logs)/([\w-]+(?:\.[\w-]+)*)")


def _identified(segment: str) -> ExecutionId | None:
    """The execution whose places are called so: the inverse of `_execution`."""
    parts = segment.split("." if "." in segment else "-", 2)
    if len(parts) < 3 or not all(parts):
        return None
    id = ExecutionId(*parts)
    return id if _execution(id) == segment else None


def _segment(field: str, value: str) -> str:
    if not value or value in (".", "..") or "/" in value or "\0" in value:
        raise InvalidArgument(f"{field}: {value!r} cannot be part of a path")
    return value
