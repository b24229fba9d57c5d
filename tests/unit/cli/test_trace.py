"""`airscrew trace`: a waterfall from what is stored."""

from __future__ import annotations

import json

from libs.workflow.phases import ExecutionPhase, NodePhase
from protos import airscrew_pb2
from tests.support.command import Command
from tests.support.fake_admin import BORN_US, SECOND_US, FakeAdmin, execution, node

Tree = airscrew_pb2.GetTreeReply


def attempt(number: int, phase: str, created: float, started: float | None, ended: float | None) -> Tree.Attempt:
    def at(seconds: float | None) -> int:
        return 0 if seconds is None else BORN_US + int(seconds * SECOND_US)

    return Tree.Attempt(
        attempt=number,
        phase=phase,
        executor="gpu-1",
        created_us=at(created),
        started_us=at(started),
        ended_us=at(ended),
    )


def told(admin: FakeAdmin) -> None:
    """Four seconds: a node with two attempts, of which the second waited for two seconds, and a node inside another."""
    inner = node("n1-0-n0", NodePhase.SUCCEEDED, 1.0)
    admin.trees["abc"] = Tree(
        execution=execution("abc", ExecutionPhase.SUCCEEDED, 4.0),
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        nodes=[
            Tree.Node(node=node("start-node", NodePhase.SUCCEEDED), kind="start"),
            Tree.Node(
                node=node("n0", NodePhase.SUCCEEDED, 4.0),
                kind="task",
                task="examples.t",
                attempts=[
                    attempt(0, "RETRYABLE_FAILED", 0, 0, 1),
                    attempt(1, "SUCCEEDED", 1, 3, 4),
                ],
            ),
            Tree.Node(node=node("n1", NodePhase.SUCCEEDED, 1.0), kind="subworkflow"),
            Tree.Node(node=inner, parent_id="n1", kind="task", task="examples.u"),
        ],
    )


def test_a_bar_shows_when_something_waited_and_when_it_ran_and_where(airscrew: Command, admin: FakeAdmin) -> None:
    told(admin)
    first, *lines = airscrew("trace", "abc").out.splitlines()
    assert first == "trace 4bf92f3577b34da6a3ce929d0e0e4736   ░ waits  █ runs   4.00 s in all"
    assert [line[: len("    node n1-0-n0 u")].rstrip() for line in lines] == [
        "execution abc",
        "  node n0 t",
        "    attempt 0",
        "    attempt 1",
        "  node n1",
        "    node n1-0-n0 u",
    ]
    width = lines[0].count("█")
    quarter = width // 4
    second = lines[3]
    assert abs(second.count("░") - 2 * quarter) <= 1
    assert abs(second.count("█") - quarter) <= 1
    assert abs(second.index("░") - lines[0].index("█") - quarter) <= 1
    assert lines[2].endswith("1.00 s  RETRYABLE_FAILED on gpu-1")
    assert second.endswith("3.00 s  on gpu-1")
    assert all(len(line) <= 120 for line in lines)


def test_what_is_too_much_is_cut_and_counted(airscrew: Command, admin: FakeAdmin) -> None:
    told(admin)
    assert airscrew("trace", "abc", "--limit", "2").out.splitlines()[-1] == "… and 4 more: --limit shows them"


def test_programs_get_the_spans(airscrew: Command, admin: FakeAdmin) -> None:
    told(admin)
    found = json.loads(airscrew("trace", "abc", "-o", "json").out)
    assert found["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert [(span["name"], span["depth"], span["executor"]) for span in found["spans"]][2:4] == [
        ("attempt 0", 2, "gpu-1"),
        ("attempt 1", 2, "gpu-1"),
    ]
    assert found["spans"][3]["started_at"] == "2023-11-14T22:13:23.000Z"


def test_what_runs_lasts_until_now(airscrew: Command, admin: FakeAdmin) -> None:
    admin.trees["abc"] = Tree(
        execution=execution("abc", ExecutionPhase.RUNNING),
        nodes=[
            Tree.Node(node=node("n0", NodePhase.RUNNING), kind="task", attempts=[attempt(0, "RUNNING", 0, None, None)])
        ],
    )
    out = airscrew("trace", "abc").out
    assert out.startswith("trace (not traced)")
    (line,) = [line for line in out.splitlines() if "attempt 0" in line]
    assert line.endswith("RUNNING on gpu-1")
    assert "█" not in line, "it has not begun to run"
