"""From views to lines. One layout for people at a terminal and for files: the same columns, with colour and symbols in
the one, plain and never cut in the other. Pure: the time is an argument, nothing is printed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import text_format
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from libs.workflow.identity import ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from libs.workflow.types import describe
from services.cli.views import Attempt, Cause, Change, Event, Execution, Explanation, Node, Signal, Tree, iso

_STYLE = {
    "SUCCEEDED": ("✔", "green"),
    "RECOVERED": ("✔", "green"),
    "RUNNING": ("●", "cyan"),
    "DYNAMIC_RUNNING": ("●", "cyan"),
    "INITIALIZING": ("●", "cyan"),
    "FAILING": ("✖", "red"),
    "FAILED": ("✖", "bold red"),
    "RETRYABLE_FAILED": ("↻", "yellow"),
    "LOST": ("↻", "yellow"),
    "HANDED_BACK": ("↻", "yellow"),
    "TIMED_OUT": ("✖", "bold red"),
    "ABORTING": ("■", "magenta"),
    "ABORTED": ("■", "magenta"),
    "SKIPPED": ("○", "dim"),
}
_OTHER = ("○", "dim")
"""What waits: queued, undefined, waiting for resources."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a tree."""

    depth: int
    label: str
    name: str
    phase: str
    time: str
    detail: str
    urgency: int = 1
    """0 for what has failed or runs: what stays when there is no room for all."""


def tree_rows(tree: Tree, now_us: int) -> list[Row]:
    """A line for each node, and below a node that was tried more than once a line for each attempt.

    Start and end node are left out: they are Flyte's, not the user's.
    """
    depths: dict[str, int] = {"": -1}
    rows: list[Row] = []
    for node in _in_order(tree.nodes):
        if node.kind in ("start", "end"):
            continue
        depth = depths[node.id] = depths.get(node.parent_id, -1) + 1
        rows.append(_node_row(node, depth, now_us))
        if len(node.attempts) > 1:
            rows.extend(_attempt_row(attempt, depth + 1, now_us) for attempt in node.attempts)
    return rows


def _in_order(nodes: Sequence[Node]) -> Iterable[Node]:
    """Depth first: each node is followed by its own. A node whose parent is missing stands at the top."""
    known = {node.id for node in nodes}
    children: dict[str, list[Node]] = {}
    for node in nodes:
        children.setdefault(node.parent_id if node.parent_id in known else "", []).append(node)
    waiting = children.pop("", [])[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(children.pop(node.id, [])[::-1])


def _node_row(node: Node, depth: int, now_us: int) -> Row:
    last = node.attempts[-1] if node.attempts else None
    detail = gist(node.error)
    if not detail and last is not None and not node.phase.terminal:
        detail = last.reason or (f"on {last.executor}" if last.executor else "")
    return Row(
        depth=depth,
        label=node.id,
        name=_name(node),
        phase=node.phase.name,
        time=duration(node.seconds(now_us)),
        detail="; ".join(filter(None, (_items(node), _cache(node), detail))),
        urgency=0 if node.phase in _URGENT_NODES else 1,
    )


def _name(node: Node) -> str:
    if node.child is not None:
        return f"execution {node.child.name}"
    return node.task or node.kind.replace("_", " ")


def _items(node: Node) -> str:
    """How many items an array has, and how they stand."""
    if node.size is None:
        return ""
    counts = ", ".join(f"{count} {phase.name}" for phase, count in sorted(node.items.items()))
    return f"{node.size} {'item' if node.size == 1 else 'items'}" + (f": {counts}" if counts else "")


def _cache(node: Node) -> str:
    return f"cache {node.cache.lower().replace('_', ' ')}" if node.cache else ""


def _attempt_row(attempt: Attempt, depth: int, now_us: int) -> Row:
    return Row(
        depth=depth,
        label=f"attempt {attempt.number}",
        name=f"on {attempt.executor}" if attempt.executor else "",
        phase=attempt.phase.name,
        time=duration(attempt.seconds(now_us)),
        detail=gist(attempt.error) or ("" if attempt.phase is AttemptPhase.SUCCEEDED else attempt.reason),
        urgency=2,
    )


_URGENT_NODES = frozenset(
    {NodePhase.RUNNING, NodePhase.DYNAMIC_RUNNING, NodePhase.FAILING, NodePhase.FAILED, NodePhase.TIMED_OUT}
)


def tree_text(tree: Tree, now_us: int) -> str:
    """The whole tree as plain lines, with the full error at the end."""
    rows = tree_rows(tree, now_us)
    table = columns([["NODE", "NAME", "PHASE", "TIME", "DETAIL"], *([*_cells(row)] for row in rows)])
    return "\n".join([*_head(tree, now_us), "", *table, *_below(tree), *_full_error(tree.execution)])


def tree_rich(tree: Tree, now_us: int, height: int | None = None) -> RenderableType:
    """The tree for a terminal; of `height` lines at most, showing first what runs and what failed."""
    rows = tree_rows(tree, now_us)
    shown, hidden = _fit(rows, None if height is None else height - 6)
    detail = Text if height is None else _one_line
    grid = Table.grid(padding=(0, 2), pad_edge=False)
    for _ in range(4):
        grid.add_column(no_wrap=True)
    grid.add_column()
    for row in shown:
        symbol, style = _STYLE.get(row.phase, _OTHER)
        label = Text("  " * row.depth).append(symbol, style).append(f" {row.label}")
        grid.add_row(label, row.name, Text(row.phase, style), Text(row.time, "dim"), detail(row.detail))
    parts: list[RenderableType] = [_rich_head(tree, now_us), Text(), grid]
    if hidden:
        counts = Counter(row.phase for row in hidden)
        parts.append(Text("… " + ", ".join(f"{number} {phase}" for phase, number in counts.most_common()), "dim"))
    parts.extend(Text(line) for line in _below(tree))
    return Group(*parts)


def _below(tree: Tree) -> list[str]:
    """What belongs to the execution and is no node of it: signals that it waits for, executions of its tasks."""
    lines = [
        f"waits for signal {signal.id} ({describe(signal.type)}): airscrew {_answer(signal)} {tree.execution.id.name}"
        f" {signal.id}{'' if _is_approval(signal) else ' VALUE'}"
        for signal in tree.signals
    ]
    lines += [f"launched {child.id.name}  {child.entity}  {child.phase.name}" for child in tree.launched]
    return ["", *lines] if lines else []


def _answer(signal: Signal) -> str:
    return "approve" if _is_approval(signal) else "signal"


def _is_approval(signal: Signal) -> bool:
    return bool(signal.type.simple == types_pb2.BOOLEAN)


def signals_text(signals: Sequence[Signal]) -> str:
    """Each signal with its type and, once it is given, its value."""
    rows = [
        [signal.id, describe(signal.type), "waits" if signal.value is None else _value_text(signal.value)]
        for signal in signals
    ]
    return "\n".join(columns([["SIGNAL", "TYPE", "VALUE"], *rows]))


def _value_text(value: literals_pb2.Literal) -> str:
    return " ".join(text_format.MessageToString(value, as_one_line=True).split())


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def full_error(tree: Tree) -> str:
    """The error of the execution with its trace, as many lines as it has; empty when there is none."""
    return "\n".join(_full_error(tree.execution))


def _full_error(execution: Execution) -> list[str]:
    return ["", *execution.error.rstrip().splitlines()] if execution.error else []


def _head(tree: Tree, now_us: int) -> list[str]:
    execution = tree.execution
    lines = [f"{execution.id}  {execution.phase.name}  {duration(execution.seconds(now_us))}".rstrip()]
    lines.append(f"{execution.entity}  version {execution.version}")
    if tree.trace_id:
        lines.append(f"trace {tree.trace_id}")
    return lines


def _rich_head(tree: Tree, now_us: int) -> Text:
    first, *rest = _head(tree, now_us)
    _, style = _STYLE.get(tree.execution.phase.name, _OTHER)
    head = Text(first)
    head.highlight_words([tree.execution.phase.name], style)
    return head.append("\n" + "\n".join(rest), "dim")


def _fit(rows: list[Row], room: int | None) -> tuple[list[Row], list[Row]]:
    """Which rows are shown and which are only counted, when there is room for `room` of them."""
    if room is None or len(rows) <= room:
        return rows, []
    # The most urgent first, and of those the latest: what has just begun is what one watches.
    ranked = sorted(range(len(rows)), key=lambda at: (rows[at].urgency, -at))
    keep = set(ranked[: max(room - 1, 1)])
    return [rows[at] for at in sorted(keep)], [row for at, row in enumerate(rows) if at not in keep]


def _cells(row: Row) -> tuple[str, ...]:
    return ("  " * row.depth + row.label, row.name, row.phase, row.time, row.detail)


def executions_text(executions: Sequence[Execution], now_us: int) -> str:
    rows = [_execution_cells(execution, now_us) for execution in executions]
    return "\n".join(columns([["NAME", "ENTITY", "PHASE", "CREATED", "TIME", "ERROR"], *rows]))


def executions_rich(executions: Sequence[Execution], now_us: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("NAME", "ENTITY", "PHASE", "CREATED", "TIME"):
        table.add_column(title, no_wrap=True)
    table.add_column("ERROR")  # the only one that may be cut, so it gives way first
    for execution in executions:
        name, entity, phase, created, time, error = _execution_cells(execution, now_us)
        symbol, style = _STYLE.get(phase, _OTHER)
        table.add_row(name, entity, Text(f"{symbol} {phase}", style), created, time, _one_line(error))
    return table


def _execution_cells(execution: Execution, now_us: int) -> list[str]:
    age = None if execution.created_us is None else max(0.0, (now_us - execution.created_us) / 1e6)
    return [
        execution.id.name,
        execution.entity,
        execution.phase.name,
        f"{duration(age)} ago" if age is not None else "",
        duration(execution.seconds(now_us)),
        gist(execution.error),
    ]


def change_lines(change: Change, now_us: int) -> list[str]:
    """A watch off the terminal: one line for each thing that changed."""
    lines = [
        _change_line(node.id, node.phase, node.seconds(now_us), node.error)
        for node in change.nodes
        if node.id not in ("start-node", "end-node")
    ]
    if change.execution is not None:
        execution = change.execution
        lines.append(_change_line(execution.id.name, execution.phase, execution.seconds(now_us), execution.error))
    return lines


def _change_line(name: str, phase: IntEnum, seconds: float | None, error: str) -> str:
    final = isinstance(phase, ExecutionPhase | NodePhase) and phase.terminal
    return f"{name:<20} {phase.name:<10} {duration(seconds) if final else '':>8}  {gist(error)}".rstrip()


def explanation_text(id: ExecutionId, node: str, found: Explanation) -> str:
    """What was asked about and its phase; below it the causes, each below what it explains."""
    lines = [f"{id}{f'/{node}' if node else ''} is {found.phase}"]
    for cause in found.causes:
        lines += _cause_lines(cause, id, 1)
    return "\n".join(lines)


def _cause_lines(cause: Cause, within: ExecutionId, depth: int) -> list[str]:
    place = "/".join(part for part in (str(cause.execution) if cause.execution != within else "", cause.node) if part)
    first, *more = f"{f'{place}: ' if place else ''}{cause.sentence.rstrip()}".splitlines()
    indent = "  " * depth
    lines = [f"{indent}{first}", *(f"{indent}  {line}" for line in more)]
    for inner in cause.causes:
        lines += _cause_lines(inner, cause.execution, depth + 1)
    return lines


def event_line(event: Event) -> str:
    """When, where, what and why."""
    attempt = "" if event.attempt is None else f"/{event.attempt}"
    why = f"  {gist(event.message)}" if event.message else ""
    return f"{iso(event.at_us)}  {event.node or '-'}{attempt}  {event.kind}{why}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells under each other, two spaces apart, nothing cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def gist(error: str) -> str:
    """The one line of an error that says most: of a Python trace the last, where the exception's message stands."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def size(count: int) -> str:
    """Bytes for people: `512 B`, `1.5 GiB`."""
    for power, suffix in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.3g} {suffix}"
    return f"{count} B"


def duration(seconds: float | None) -> str:
    """`0.84 s`, `12.3 s`, `4 m 05 s`, `3 h 12 m`, `2 d 03 h`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, smaller, size in (("d", "h", 86_400), ("h", "m", 3_600)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // (size // (24 if unit == 'd' else 60)):02d} {smaller}"
    return f"{whole // 60} m {whole % 60:02d} s"
