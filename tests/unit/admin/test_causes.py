"""What rows mean: every way in which a node can wait has a cause of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flyteidl.core import execution_pb2 as core

from libs.clients.propeller import ExecutorStatus, Status, Waiting
from libs.store.stories import Computing, OpenSignal
from libs.workflow.identity import AttemptId, ExecutionId
from libs.workflow.phases import AttemptPhase, NodeKind, NodePhase, ReservationStatus
from libs.workflow.quantities import Slots
from libs.workflow.state import AttemptState, NodeState
from services.admin.causes import Cause, Code, Known, of_open_node, span
from tests.support.graphs import Plan, state_of

SECOND = 1_000_000
NOW = 1_000 * SECOND
OTHER = ExecutionId("p", "d", "other")
NODE = NodeState("n0", "n0", "", NodeKind.TASK, NodePhase.QUEUED, updated_at_us=NOW - 5 * SECOND)
ATTEMPT = AttemptState("n0", 0, AttemptPhase.WAITING_FOR_RESOURCES, NOW - 7 * SECOND)
PLACED = replace(ATTEMPT, executor="e1", placed_at_us=NOW - 6 * SECOND, phase=AttemptPhase.QUEUED)


def known(*attempts: AttemptState, **more: object) -> Known:
    return replace(Known(state_of(Plan(())), NOW, {"n0": attempts}), **more)  # type: ignore[arg-type]


def of(it: Known, node: NodeState = NODE) -> Cause:
    return of_open_node(it, node)


def waiting(**more: object) -> Status:
    it = replace(Waiting(NOW - 7 * SECOND, Slots(1000, 1 << 30)), **more)  # type: ignore[arg-type]
    return Status(leading=True, waiting={AttemptId(state_of(Plan(())).key, "n0", 0): it}, grace_us=15 * SECOND)


def test_an_attempt_without_a_slot_waits_since_it_began() -> None:
    cause = of(known(ATTEMPT))
    assert (cause.code, cause.since_us, cause.attempt) == (Code.QUEUED, NOW - 7 * SECOND, 0)
    assert "7.0 s" in cause.sentence


def test_what_an_attempt_was_told_is_the_cause_until_the_leader_knows_better() -> None:
    told = replace(ATTEMPT, reason="NoExecutor: no executor is connected")
    assert (of(known(told)).code, of(known(told)).sentence) == (Code.NO_EXECUTOR, "no executor is connected")
    assert of(known(told, status=waiting(ahead=3))).code is Code.QUEUED


def test_the_leader_tells_the_place_in_the_line() -> None:
    cause = of(known(ATTEMPT, status=waiting(ahead=3, in_project=9, running=2, kept="e7")))
    assert cause.facts == {
        "asked": "1 cpu, 1Gi memory",
        "ahead": "3",
        "running_of_project": "2",
        "waiting_of_project": "9",
        "kept": "e7",
    }
    assert "about 3 others" in cause.sentence
    assert "e7" in cause.sentence


def test_slots_that_leaders_of_other_shards_have_are_named() -> None:
    cause = of(known(ATTEMPT, status=waiting(elsewhere=Slots(2000, 2 << 30, 1))))
    assert cause.code is Code.QUEUED
    assert cause.facts["elsewhere"] == "2 cpu, 2Gi memory, 1 gpu"
    assert "other shards" in cause.sentence


def test_a_project_at_its_limit_says_so() -> None:
    cause = of(known(ATTEMPT, status=waiting(running=2, limit=2)))
    assert (cause.code, cause.facts["limit"]) == (Code.PROJECT_LIMIT, "2")


def test_a_new_leader_that_still_counts_says_so() -> None:
    assert "begun" in of(known(ATTEMPT, status=waiting(limit=2, starting=True))).sentence


def test_a_placed_attempt_is_prepared_runs_or_is_stopped() -> None:
    assert of(known(PLACED)).code is Code.PREPARING
    assert "Unschedulable" in of(known(replace(PLACED, reason="Unschedulable: 0/3 nodes are available"))).sentence
    running = replace(PLACED, phase=AttemptPhase.RUNNING, started_at_us=NOW - 130 * SECOND)
    assert of(known(running)).code is Code.RUNNING
    assert "2 min" in of(known(running)).sentence
    assert of(known(running), replace(NODE, phase=NodePhase.FAILING)).code is Code.STOPPING


def test_an_executor_that_is_away_is_why() -> None:
    status = replace(waiting(), executors={"e1": ExecutorStatus("e1", connected=False, silent_us=4 * SECOND)})
    cause = of(known(PLACED, status=status))
    assert (cause.code, cause.since_us) == (Code.EXECUTOR_SILENT, NOW - 4 * SECOND)
    assert "after 15 s" in cause.sentence
    there = replace(waiting(), executors={"e1": ExecutorStatus("e1", connected=True, silent_us=0)})
    assert of(known(PLACED, status=there)).code is Code.PREPARING


def test_a_pause_tells_until_when_and_what_happened_before() -> None:
    error = core.ExecutionError(code="Oops", message="bad luck").SerializeToString()
    failed = replace(PLACED, phase=AttemptPhase.RETRYABLE_FAILED, error=error, ended_at_us=NOW - SECOND)
    cause = of(known(failed), replace(NODE, attempt=1, wake_at_us=NOW + 3 * SECOND))
    assert (cause.code, cause.until_us, cause.attempt) == (Code.BACK_OFF, NOW + 3 * SECOND, 1)
    assert "3.0 s" in cause.sentence
    assert cause.causes[0].code is Code.ATTEMPT_FAILED
    assert "retryable failed: Oops: bad luck" in cause.causes[0].sentence


def test_an_execution_that_is_at_its_own_limit_holds_nodes_back() -> None:
    state = state_of(Plan((), max_parallelism=2))
    cause = of(replace(known(running=2), execution=state))
    assert (cause.code, cause.facts) == (Code.MAX_PARALLELISM, {"running": "2", "limit": "2"})
    assert of(known()).code is Code.STARTING


def test_whoever_waits_for_the_cache_knows_who_computes() -> None:
    node = replace(NODE, reservation=ReservationStatus.EXISTS, cache_key=b"k")
    cause = of(known(computing={b"k": Computing(OTHER, "n9", NOW - SECOND)}), node)
    assert cause.code is Code.CACHE
    assert cause.facts == {"computing_execution": "p:d:other", "computing_node": "n9"}
    assert of(known(), node).code is Code.CACHE


def test_a_dynamic_node_is_compiled_first() -> None:
    node = replace(NODE, phase=NodePhase.RUNNING, futures_uri="/f")
    assert of(known(), node).code is Code.COMPILING
    assert of(known(), replace(node, closure_uri="/c")).code is Code.STARTING


def test_gates_wait_for_signals_or_sleep() -> None:
    gate = replace(NODE, kind=NodeKind.GATE, phase=NodePhase.RUNNING)
    cause = of(known(signals={"n0": OpenSignal("go", "n0", NOW - 60 * SECOND)}), gate)
    assert (cause.code, cause.since_us) == (Code.SIGNAL, NOW - 60 * SECOND)
    assert "airscrew signal p:d:" in cause.sentence
    cause = of(known(), replace(gate, wake_at_us=NOW + 30 * SECOND))
    assert (cause.code, cause.sentence, cause.until_us) == (Code.SLEEP, "it sleeps for another 30 s", NOW + 30 * SECOND)


def test_a_launch_plan_node_waits_for_its_execution_also_while_that_is_aborted() -> None:
    node = replace(NODE, kind=NodeKind.LAUNCH_PLAN, phase=NodePhase.RUNNING, child_key=7)
    assert of(known(children={7: OTHER}), node).facts == {"child": "p:d:other"}
    assert "aborted" in of(known(children={7: OTHER}), replace(node, phase=NodePhase.FAILING)).sentence


def test_every_code_is_on_the_page_about_them() -> None:
    page = (Path(__file__).parents[3] / "docs/explain.md").read_text()
    assert [code for code in Code if f"`{code}`" not in page] == []


def test_lengths_of_time_are_short() -> None:
    assert [span(us * SECOND) for us in (-1, 0, 9, 90, 300, 100_000)] == [
        "0.0 s",
        "0.0 s",
        "9.0 s",
        "90 s",
        "5 min",
        "28 h",
    ]
