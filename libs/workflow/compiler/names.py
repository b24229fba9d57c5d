"""Whether the ids of nodes can name what they will have to name: a row, a folder, one node among all of an execution.

A node inside a sub-workflow is called `<node>-<attempt>-<inner node>` when it runs, at any depth, and its folder has
the same name. So an id must be one part of a path, the longest name that can arise must be short enough for file
systems, and no id may look like the name of something inside another node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from flyteidl.core import workflow_pb2

from libs.workflow.compiler.errors import Code, Report
from libs.workflow.compiler.requirements import cases_of, target_of
from libs.workflow.identity import EntityId, child_node_id

MAX_BYTES: Final = 255
"""What file systems take of a name."""

_MANY_ATTEMPTS: Final = 9_999
"""Stands for the attempt in the longest name that can arise."""

_UNFIT: Final = re.compile(r"[/\x00-\x1f\x7f]")
_INNER: Final = re.compile(r"-\d+-")
_SHOWN: Final = 50


def longest_inside(
    workflows: Mapping[EntityId, workflow_pb2.WorkflowTemplate], inner_first: Iterable[EntityId]
) -> dict[EntityId, int]:
    """How many bytes the longest name of a node in each workflow has, whatever the workflow is part of not counted."""
    found: dict[EntityId, int] = {}
    for workflow in inner_first:
        found[workflow] = max((_longest(id, node, found) for id, node in _named(workflows[workflow])), default=0)
    return found


def check_names(
    template: workflow_pb2.WorkflowTemplate, longest_inside: Mapping[EntityId, int], report: Report
) -> None:
    """Report the ids of a workflow's nodes that cannot name what they must."""
    ids = {id for id, _ in _named(template)}
    for id, node in _named(template):
        if id in (".", "..") or _UNFIT.search(id):
            report.add(
                Code.INVALID_VALUE,
                _short(id),
                f"the id {_short(id)!r} must be fit for a folder: not . or .., without / and control characters",
            )
        size = _longest(id, node, longest_inside)
        if size > MAX_BYTES:
            grows = size != _bytes(id)
            code = Code.WORKFLOW_BUILD_ERROR if grows else Code.INVALID_VALUE
            what = "with the ids of nodes inside, the id grows to" if grows else "the id has"
            report.add(code, _short(id), f"{what} {size} bytes: shorten it, at most {MAX_BYTES} are allowed")
        outer = next((id[: inner.start()] for inner in _INNER.finditer(id) if id[: inner.start()] in ids), None)
        if outer is not None:
            report.add(
                Code.INVALID_VALUE,
                _short(id),
                f"the id is one that a node inside node {_short(outer)} may get: begin it in another way",
            )


def _named(template: workflow_pb2.WorkflowTemplate) -> Iterator[tuple[str, workflow_pb2.Node]]:
    """The nodes with the ids that they have in a compiled workflow, which differ for what is in a branch."""
    yield from _with_cases(template.nodes, "")
    if template.HasField("failure_node"):
        yield from _with_cases([template.failure_node], "")


def _with_cases(nodes: Iterable[workflow_pb2.Node], prefix: str) -> Iterator[tuple[str, workflow_pb2.Node]]:
    for node in nodes:
        id = f"{prefix}{node.id}"
        yield id, node
        if node.WhichOneof("target") == "branch_node":
            yield from _with_cases(cases_of(node), f"{id}-")


def _longest(id: str, node: workflow_pb2.Node, inside: Mapping[EntityId, int]) -> int:
    match target_of(node):
        case "sub_workflow", workflow:
            return _bytes(child_node_id(id, _MANY_ATTEMPTS, "")) + inside.get(workflow, 0)
    return _bytes(id)


def _bytes(name: str) -> int:
    return len(name.encode())


def _short(id: str) -> str:
    return id if len(id) <= _SHOWN else f"{id[:_SHOWN]}…"
