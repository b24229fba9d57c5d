from __future__ import annotations

import pytest
from rich.console import Console

from libs.workflow.identity import ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from services.cli import render
from services.cli.views import Attempt, Execution, Node, Tree

NOW_US = 1_700_000_100_000_000


def ago(seconds: float) -> int:
    return NOW_US - int(seconds * 1e6)


def node(id: str, phase: NodePhase, parent: str = "", kind: str = "task", **more: object) -> Node:
    values: dict[str, object] = {
        "parent_id": parent,
        "kind": kind,
        "task": "demo.simulate" if kind == "task" else "",
        "created_us": ago(20),
        "started_us": ago(12),
        "ended_us": ago(10) if phase.terminal else None,
        "error": "",
    }
    return Node(id=id, phase=phase, **(values | more))  # type: ignore[arg-type]


def attempt(number: int, phase: AttemptPhase, **more: object) -> Attempt:
    values: dict[str, object] = {
        "executor": "executor",
        "reason": "",
        "error": "",
        "created_us": ago(20),
        "started_us": ago(12),
        "ended_us": ago(10) if phase.terminal else None,
    }
    return Attempt(number=number, phase=phase, **(values | more))  # type: ignore[arg-type]


def tree(*nodes: Node, phase: ExecutionPhase = ExecutionPhase.RUNNING, error: str = "") -> Tree:
    ended = ago(1) if phase.terminal else None
    id = ExecutionId("flytesnacks", "development", "abc")
    execution = Execution(id, phase, "demo.training_data", "v1", ago(20), ago(15), ended, error)
    return Tree(execution, nodes, "4bf92f3577b34da6a3ce929d0e0e4736")


def test_a_tree_in_plain_lines_has_stable_columns_and_indents_children() -> None:
    text = render.tree_text(
        tree(
            node("start-node", NodePhase.SUCCEEDED, kind="start"),
            node("n0", NodePhase.SUCCEEDED),
            node("n1", NodePhase.RUNNING, kind="subworkflow"),
            node("n1-0-n0", NodePhase.QUEUED, parent="n1", started_us=None),
        ),
        NOW_US,
    )
    assert text.splitlines() == [
        "flytesnacks:development:abc  RUNNING  15.0 s",
        "demo.training_data  version v1",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "",
        "NODE       NAME           PHASE      TIME    DETAIL",
        "n0         demo.simulate  SUCCEEDED  2.00 s",
        "n1         subworkflow    RUNNING    12.0 s",
        "  n1-0-n0  demo.simulate  QUEUED",
    ]


def test_children_follow_their_parent_whatever_the_order_of_creation() -> None:
    rows = render.tree_rows(
        tree(
            node("n0", NodePhase.RUNNING, kind="subworkflow"),
            node("n1", NodePhase.RUNNING, kind="subworkflow"),
            node("n0-0-n0", NodePhase.RUNNING, parent="n0"),
            node("n1-0-n0", NodePhase.RUNNING, parent="n1"),
            node("n0-0-n1", NodePhase.RUNNING, parent="n0"),
        ),
        NOW_US,
    )
    assert [(row.depth, row.label) for row in rows] == [
        (0, "n0"),
        (1, "n0-0-n0"),
        (1, "n0-0-n1"),
        (0, "n1"),
        (1, "n1-0-n0"),
    ]


def test_a_node_that_was_tried_again_shows_each_attempt_and_why_it_ended() -> None:
    lost = attempt(0, AttemptPhase.LOST, reason="executor-2 was silent for 15 s")
    failed = attempt(1, AttemptPhase.RETRYABLE_FAILED, error="Trace:\n\n  File …\n\nMessage:\n\n  OSError: no luck\n")
    now = attempt(2, AttemptPhase.RUNNING)
    rows = render.tree_rows(tree(node("n0", NodePhase.RUNNING, attempts=(lost, failed, now))), NOW_US)

    assert [(row.label, row.phase, row.detail) for row in rows] == [
        ("n0", "RUNNING", "on executor"),
        ("attempt 0", "LOST", "executor-2 was silent for 15 s"),
        ("attempt 1", "RETRYABLE_FAILED", "OSError: no luck"),
        ("attempt 2", "RUNNING", ""),
    ]


def test_a_waiting_node_says_what_for() -> None:
    waiting = attempt(0, AttemptPhase.WAITING_FOR_RESOURCES, executor="", reason="no executor has 2 gpus")
    (row,) = render.tree_rows(tree(node("n0", NodePhase.QUEUED, attempts=(waiting,))), NOW_US)

    assert row.detail == "no executor has 2 gpus"


def test_the_whole_error_stands_below_the_plain_tree() -> None:
    error = "USER:ValueError: Trace:\n\n  line 1\n\nMessage:\n\n  ValueError: bad"
    text = render.tree_text(tree(phase=ExecutionPhase.FAILED, error=error), NOW_US)

    assert text.endswith(error)


def on_terminal(shown: object, height: int = 20) -> str:
    console = Console(force_terminal=True, width=100, height=height, color_system=None)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_a_terminal_shows_symbols() -> None:
    text = on_terminal(render.tree_rich(tree(node("n0", NodePhase.SUCCEEDED), node("n1", NodePhase.FAILED)), NOW_US))

    assert "✔ n0" in text
    assert "✖ n1" in text


def test_when_there_is_no_room_what_fails_or_runs_is_shown_and_the_rest_counted() -> None:
    done = [node(f"n{number}", NodePhase.SUCCEEDED) for number in range(50)]
    done[3] = node("n3", NodePhase.FAILED)
    done[40] = node("n40", NodePhase.RUNNING)
    text = on_terminal(render.tree_rich(tree(*done), NOW_US, height=12))

    assert len(text.splitlines()) <= 12
    assert "✖ n3 " in text
    assert "● n40 " in text
    assert "… 45 SUCCEEDED" in text


def test_a_list_on_a_terminal_is_cut_to_its_width_and_off_it_is_not() -> None:
    long = Execution(
        ExecutionId("p", "d", "abc"), ExecutionPhase.FAILED, "demo.wf", "v1", ago(20), ago(15), ago(1), "x" * 200
    )

    shown = on_terminal(render.executions_rich([long], NOW_US))
    assert "✖ FAILED" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert "x" * 200 in render.executions_text([long], NOW_US)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.004, "0.00 s"),
        (9.99, "9.99 s"),
        (9.999, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 m 00 s"),
        (245, "4 m 05 s"),
        (3 * 3600 + 12 * 60 + 5, "3 h 12 m"),
        (2 * 86400 + 3 * 3600, "2 d 03 h"),
    ],
)
def test_durations_are_as_fine_as_they_are_short(seconds: float | None, text: str) -> None:
    assert render.duration(seconds) == text
