"""An execution as a waterfall: when each node and each attempt waited and ran, and where, on one axis of time.

Drawn from what is stored, so it needs no tracing backend, and shows what runs as well as what is over. The spans have
the names and the borders of those that are sent to one. Pure: the time and the width are arguments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.cli.render import duration
from services.cli.views import Attempt, Node, Tree, iso

WAITS, RUNS = "░", "█"

_NAME_WIDTH = 40
_LEAST_BAR = 20


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of time in which something waited, and then ran."""

    name: str
    depth: int
    begun_us: int
    started_us: int
    """When it ran and waited no more; its end, where it never came to that."""
    ended_us: int
    phase: str
    where: str = ""
    """The executor."""
    over: bool = True

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "depth": self.depth,
            "phase": self.phase,
            "executor": self.where or None,
            "created_at": iso(self.begun_us),
            "started_at": iso(self.started_us),
            "ended_at": iso(self.ended_us) if self.over else None,
        }


def spans(tree: Tree, now_us: int) -> list[Span]:
    """The execution, its nodes and their attempts, each below what it is part of, by when they began.

    Start and end node are left out: they take no time. What is not over lasts until now.
    """
    below: defaultdict[str, list[Node]] = defaultdict(list)
    for node in tree.nodes:
        if node.kind not in ("start", "end") and node.created_us is not None:
            below[node.parent_id].append(node)
    execution = tree.execution
    begun_us = execution.created_us or now_us
    ended_us = execution.ended_us or now_us
    whole = Span(
        f"execution {execution.id.name}",
        0,
        begun_us,
        min((node.created_us or now_us for node in below[""]), default=ended_us),
        ended_us,
        execution.phase.name,
        over=execution.ended_us is not None,
    )
    return [whole, *_below(below, "", 1, now_us)]


def _below(below: dict[str, list[Node]], parent: str, depth: int, now_us: int) -> Iterator[Span]:
    for node in sorted(below[parent], key=lambda node: (node.created_us or now_us, node.id)):
        begun_us, ended_us = node.created_us or now_us, node.ended_us or now_us
        name = f"node {node.id}" + (f" {_short(node.task)}" if node.task else "")
        yield Span(
            f"{name} → {node.child.name}" if node.child else name,
            depth,
            begun_us,
            node.started_us or ended_us,
            ended_us,
            node.phase.name,
            over=node.ended_us is not None,
        )
        for attempt in node.attempts:
            if attempt.created_us is not None:
                yield _attempt(attempt, depth + 1, now_us)
        yield from _below(below, node.id, depth + 1, now_us)


def _attempt(attempt: Attempt, depth: int, now_us: int) -> Span:
    begun_us, ended_us = attempt.created_us or now_us, attempt.ended_us or now_us
    return Span(
        f"attempt {attempt.number}",
        depth,
        begun_us,
        attempt.started_us or ended_us,
        ended_us,
        attempt.phase.name,
        attempt.executor,
        attempt.ended_us is not None,
    )


def text(tree: Tree, now_us: int, width: int, limit: int) -> str:
    """The waterfall in lines of `width`; of more than `limit` spans the first ones, and how many are not shown."""
    all_spans = spans(tree, now_us)
    shown = all_spans[:limit]
    origin = min(span.begun_us for span in all_spans)
    length = max(1, max(span.ended_us for span in all_spans) - origin)
    names = [f"{'  ' * span.depth}{span.name}" for span in shown]
    tails = [f"{duration((span.ended_us - span.begun_us) / 1e6):>8}  {_tail(span)}".rstrip() for span in shown]
    name_width = min(_NAME_WIDTH, max(map(len, names)))
    bar = max(_LEAST_BAR, width - name_width - max(map(len, tails)) - 2)
    lines = [f"trace {tree.trace_id or '(not traced)'}   {WAITS} waits  {RUNS} runs   {duration(length / 1e6)} in all"]
    for span, name, tail in zip(shown, names, tails, strict=True):
        lines.append(f"{_cut(name, name_width)} {_bar(span, origin, length, bar)} {tail}".rstrip())
    if len(all_spans) > limit:
        lines.append(f"… and {len(all_spans) - limit} more: --limit shows them")
    return "\n".join(lines)


def _bar(span: Span, origin: int, length: int, width: int) -> str:
    """At least one cell, so that what was short is seen."""

    def cell(at_us: int) -> int:
        return round((at_us - origin) * width / length)

    first = min(cell(span.begun_us), width - 1)
    last = max(cell(span.ended_us), first + 1)
    turn = min(max(cell(span.started_us), first), last)
    if turn == last and span.started_us < span.ended_us:
        turn = last - 1  # it did run, however shortly
    return " " * first + WAITS * (turn - first) + RUNS * (last - turn) + " " * (width - last)


def _tail(span: Span) -> str:
    phase = "" if span.phase == "SUCCEEDED" else span.phase
    return " ".join(filter(None, (phase, f"on {span.where}" if span.where else "")))


def _cut(name: str, width: int) -> str:
    return name.ljust(width) if len(name) <= width else name[: width - 1] + "…"


def _short(task: str) -> str:
    return task.rpartition(".")[2]


def as_json(tree: Tree, found: Sequence[Span]) -> dict[str, Any]:
    """For programs."""
    return {"trace_id": tree.trace_id or None, "spans": [span.as_json() for span in found]}
