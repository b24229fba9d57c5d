"""How people write the things that commands act on. Pure: text in, names out, `UsageError` for what is neither.

name                      an execution of the default project and domain
project:domain:name       … of any; `/` instead of `:` does too
@latest                   the one that was created last
<execution>/<node>        a node of it
<execution>/<node>/<n>    attempt n of the node, from 0
"""

from __future__ import annotations

from dataclasses import dataclass

from libs.workflow.identity import ExecutionId

DEFAULT_PROJECT = "flytesnacks"
DEFAULT_DOMAIN = "development"
LATEST = "@latest"
"""As a name: the execution that was created last in its project and domain."""


class UsageError(Exception):
    """What the user typed cannot be meant; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class NodeRef:
    """A node of an execution, and one attempt of it or (None) the latest."""

    execution: ExecutionId
    node: str
    attempt: int | None


def execution(text: str, project: str = DEFAULT_PROJECT, domain: str = DEFAULT_DOMAIN) -> ExecutionId:
    """The execution that `text` names; its name may be `@latest`, which only the server can resolve."""
    parts = text.replace("/", ":").split(":")
    if all(parts) and len(parts) == 1:
        return ExecutionId(project, domain, parts[0])
    if all(parts) and len(parts) == 3:
        return ExecutionId(*parts)
    raise UsageError(f"{text!r} names no execution: give NAME, PROJECT:DOMAIN:NAME or {LATEST}")


def target(text: str, project: str = DEFAULT_PROJECT, domain: str = DEFAULT_DOMAIN) -> tuple[ExecutionId, str]:
    """The execution, or the node of one, that `text` names; the node is empty for an execution."""
    if text.count("/") in (0, 2) and (":" not in text or "/" not in text):
        return execution(text, project, domain), ""
    found = node(text, project, domain)
    if found.attempt is not None:
        raise UsageError(f"{text!r} names an attempt: give EXECUTION or EXECUTION/NODE")
    return found.execution, found.node


def node(text: str, project: str = DEFAULT_PROJECT, domain: str = DEFAULT_DOMAIN) -> NodeRef:
    """The node that `text` names. `a/b/c` is attempt `c` of node `b` if `c` is a number, and nothing else."""
    head, *rest = text.split("/")
    if ":" not in head and len(rest) >= 3:
        head, rest = "/".join((head, *rest[:2])), rest[2:]
    if len(rest) == 1 and rest[0]:
        return NodeRef(execution(head, project, domain), rest[0], None)
    if len(rest) == 2 and rest[0] and rest[1].isdecimal():
        return NodeRef(execution(head, project, domain), rest[0], int(rest[1]))
    raise UsageError(f"{text!r} names no node: give EXECUTION/NODE or EXECUTION/NODE/ATTEMPT, for example {LATEST}/n0")
