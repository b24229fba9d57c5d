"""What an event costs and what a node takes, in graphs of a hundred nodes and of very many.

Work is counted, not timed: in lines of our code that a step executes, loops included, and in rows that it changes.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from flyteidl.core import literals_pb2

from libs.workflow import graph as graph_package
from libs.workflow.graph import Graph
from libs.workflow.machine import Execution, Stepper, new_execution, step
from libs.workflow.machine import messages as m
from libs.workflow.phases import ErrorKind, ExecutionPhase
from libs.workflow.state import Data
from tests.support.graphs import Gate, Plan, Step, graph_of, number, state_of

LARGE = [int(size) for size in os.environ.get("MACHINE_SIZES", "5000").split(",")]
"""`MACHINE_SIZES=10000,100000` takes a minute."""
LIMIT_BYTES = 1024
_OURS = str(Path(graph_package.__file__).parents[1])
PLAN = Plan(
    (
        Step("n0", retries=1),
        Step("n1", launch=Plan((Step("n0"),), name="child")),
        Step("n2", gate=Gate(signal="s")),
        Step("n3", ("n0",)),
    ),
    fail_immediately=False,
    name="inner",
)
"""What the events are about; all other nodes of a large graph only stand around it."""


def surrounded(size: int, chained: bool) -> Graph:
    """The graph of PLAN with so many nodes more: all at once, or one after the other."""
    small = graph_of(PLAN)
    base, start, total = len(small.nodes), small.start, small.index["sum"]
    more = range(base, base + size)
    like = replace(small.nodes[small.index["n0"]], upstream=(start,), downstream=(total,))
    nodes = [replace(like, index=index, id=f"more{index}") for index in more]
    if chained:
        nodes = [replace(node, upstream=(node.index - 1,), downstream=(node.index + 1,)) for node in nodes]
        nodes[0] = replace(nodes[0], upstream=(start,))
        nodes[-1] = replace(nodes[-1], downstream=(total,))
    firsts, lasts = (more[:1], more[-1:]) if chained else (more, more)
    own = list(small.nodes)
    own[start] = replace(own[start], downstream=(*own[start].downstream, *firsts))
    own[total] = replace(own[total], upstream=(*own[total].upstream, *lasts))
    index = {node.id: node.index for node in (*own, *nodes)}
    return replace(small, nodes=(*own, *nodes), index=index)


def begun(kind: str, size: int) -> tuple[Execution, str]:
    """An execution in which that many nodes wait or run, and what the ids of the nodes of PLAN begin with."""
    large = surrounded(size, kind == "one after the other")
    state = state_of(Plan((), max_parallelism=1 if kind == "held back" else 0))
    if kind in ("inside a workflow", "asked for by a task"):
        outer = Step("w", inside=PLAN) if kind == "inside a workflow" else Step("w", dynamic=PLAN)
        around = graph_of(Plan((outer,)))
        nodes = [replace(node, graph=large) if node.graph else node for node in around.nodes]
        execution, prefix = new_execution(state, replace(around, nodes=tuple(nodes))), "w-0-"
    else:
        execution, prefix = new_execution(state, large), ""
    step(execution, [m.IntentRead(state.intent)], 1)
    if kind == "asked for by a task":
        step(execution, [m.Placed("w", 0, "e", "life", "log")], 2)
        futures = Data.at("futures", 1)
        step(execution, [m.Succeeded("w", 0, "e", 1, 2, None, Data.of(b""), futures=futures)], 3)
        step(execution, [m.GraphBuilt("w", 0, large, "closure")], 4)
    start_all(execution)
    return execution, prefix


def start_all(execution: Execution) -> None:
    """The steps that follow at once."""
    while execution.ready:
        step(execution, [], 4)


def story(execution: Execution, prefix: str) -> Iterator[tuple[str, m.Event | None]]:
    """Events of every kind about the nodes of PLAN, each with a name."""
    first, second, last = (f"{prefix}n0", 0), (f"{prefix}n0", 1), (f"{prefix}n3", 0)
    blob = literals_pb2.LiteralMap(literals={"o": number(1)}).SerializeToString()
    yield "placed", m.Placed(*first, "e", "life", "log")
    yield "accepted", m.Accepted(*first, "e", 1, 10)
    yield "started", m.Started(*first, "e", 2, 11)
    yield "tried again", m.Failed(*first, "e", 3, 12, None, "E", "it broke", ErrorKind.USER, recoverable=True)
    yield "placed again", m.Placed(*second, "e", "life", "log")
    yield "late report", m.Started(*first, "e", 4, 11)
    yield "succeeded", m.Succeeded(*second, "e", 1, 14, None, Data.at("blob", 9))
    yield "read", m.BlobRead("blob", blob)
    yield "nothing new", m.IntentRead(execution.state.intent)
    given = (("s", number(5).SerializeToString()),)
    yield "signal", m.IntentRead(replace(execution.state.intent, generation=2, signals=given))
    child = execution.live.get(f"{prefix}n1")
    key = child.state.child_key or 0 if child else 0
    yield "child ended", m.ChildEnded(f"{prefix}n1", key, ExecutionPhase.SUCCEEDED, Data.of(blob), None)
    yield "placed last", m.Placed(*last, "e", "life", "log")
    yield "lost", m.Lost(*last, "life", "gone")
    yield "timer", None


def costs(kind: str, size: int) -> dict[str, tuple[int, int]]:
    """For each event of the story, the lines that were executed and the rows that were changed."""
    execution, prefix = begun(kind, size)
    stepper = Stepper()
    found = {}
    now_us = 20
    for name, event in story(execution, prefix):
        now_us += 10_000_000 if event is None else 1
        counter = Lines()
        sys.settrace(counter)
        try:
            turn = stepper.step(execution, [event] if event else [], now_us)
        finally:
            sys.settrace(None)
        found[name] = counter.count, turn.changes.rows
    return found


class Lines:
    """Counts the lines of ours that are executed, one as often as a loop comes by."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Lines | None:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None  # what the garbage collector calls, for example
        self.count += event == "line"
        return self


@pytest.mark.parametrize(
    "kind", ["at once", "one after the other", "held back", "inside a workflow", "asked for by a task"]
)
def test_the_work_for_an_event_does_not_depend_on_the_size_of_the_graph(kind: str) -> None:
    small = costs(kind, 100)
    assert max(rows for _, rows in small.values()) < 10
    assert sum(lines for lines, _ in small.values()) > 100, "nothing was counted"
    for size in LARGE:
        assert costs(kind, size) == small


def memory(kind: str, size: int) -> float:
    """Bytes that an execution takes for each of that many nodes, without their graph."""
    graph = surrounded(size, kind == "one after the other")
    gc.collect()
    tracemalloc.start()
    try:
        execution = new_execution(state_of(Plan(())), graph)
        step(execution, [m.IntentRead(execution.state.intent)], 1)
        start_all(execution)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "limit"), [("one after the other", 64), ("at once", LIMIT_BYTES)])
def test_a_waiting_node_takes_less_than_a_kibibyte(kind: str, limit: int) -> None:
    """Hardly anything while it waits for other nodes; more when it waits for a slot."""
    assert memory(kind, LARGE[-1]) < limit
