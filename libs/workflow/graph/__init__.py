"""The runtime form of a compiled workflow: nodes as integers, edges both ways, what each node needs to run.

Built once per workflow version (or once per dynamic node) and shared by all its executions, so it is immutable.
Whatever is decided per node and never changes is decided here (retry budget, time allowed, resources), not in every
turn.

model   what a graph consists of
build   from a compiled closure to a graph
items   the graph of an array node: one node, many times
"""

from libs.workflow.graph.build import build, entity_id
from libs.workflow.graph.items import items_of
from libs.workflow.graph.model import (
    DEFAULT_SLOTS,
    ArrayTarget,
    BranchTarget,
    CachePolicy,
    Case,
    GateTarget,
    Graph,
    GraphNode,
    LaunchPlanTarget,
    Reads,
    Shape,
    TaskTarget,
)

__all__ = [
    "DEFAULT_SLOTS",
    "ArrayTarget",
    "BranchTarget",
    "CachePolicy",
    "Case",
    "GateTarget",
    "Graph",
    "GraphNode",
    "LaunchPlanTarget",
    "Reads",
    "Shape",
    "TaskTarget",
    "build",
    "entity_id",
    "items_of",
]
