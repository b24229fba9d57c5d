"""What nodes refer to outside their execution: the executions that they have launched, and where what they found in the
cache comes from. Looked up for all nodes of an answer at once, and only where there is something to look up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from libs.store.trees import Source, Trees
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import CacheStatus
from libs.workflow.state import NodeState


@dataclass(frozen=True, slots=True)
class Related:
    """What was found for some nodes."""

    children: Mapping[int, ExecutionId] = field(default_factory=dict)
    """By key."""
    sources: Mapping[bytes, Source] = field(default_factory=dict)
    """By key of the cache."""


NOTHING = Related()


async def related(trees: Trees, nodes: Iterable[NodeState]) -> Related:
    """What these nodes refer to."""
    nodes = list(nodes)
    children = {node.child_key for node in nodes if node.child_key is not None}
    hits = {node.cache_key for node in nodes if node.cache_key and node.cache_status is CacheStatus.HIT}
    return Related(await trees.names(children), await trees.sources(hits))
