"""The checker finds what it is for: one broken history for each rule, and none in a sound one."""

from __future__ import annotations

from libs.workflow.phases import AttemptPhase, ExecutionPhase
from tests.chaos import checker
from tests.chaos.history import Commit, Step
from tests.support.markers import Mark


def mark(event: str = "start", *, attempt: int = 0, pid: int = 1, at: float = 1.0) -> Mark:
    return Mark(event, "p-d-load-1", "a0", attempt, pid, at)


def step(attempt: int, phase: AttemptPhase, at_us: int) -> Step:
    return Step("load-1", "a0", attempt, phase, at_us)


def commit(epoch: int, writer: str = "a", holder: str = "a", kind: str = "commit", shard: int = 0) -> Commit:
    return Commit(kind, writer, holder, epoch, 0, shard)


def test_an_accepted_execution_that_is_missing_or_has_not_succeeded_is_lost() -> None:
    assert list(checker.nothing_lost(["load-1"], {"load-1": (ExecutionPhase.SUCCEEDED, "")})) == []
    assert len(list(checker.nothing_lost(["load-1", "load-2"], {"load-1": (ExecutionPhase.FAILED, "why")}))) == 2


def test_a_success_without_its_tasks_is_found() -> None:
    assert list(checker.every_task_ran(["load-1"], [mark("end")], 1)) == []
    assert len(list(checker.every_task_ran(["load-1"], [mark("end")], 2))) == 1


def test_an_attempt_that_two_processes_ran_is_found() -> None:
    assert list(checker.started_once([mark(pid=1), mark(attempt=1, pid=2)])) == []
    assert len(list(checker.started_once([mark(pid=1), mark(pid=2)]))) == 1


def test_a_start_after_the_committed_success_is_found_and_one_of_an_attempt_given_up_is_not() -> None:
    steps = [step(0, AttemptPhase.LOST, 1), step(1, AttemptPhase.SUCCEEDED, 2_000_000)]
    assert list(checker.nothing_again([mark(attempt=1, at=1.0), mark(attempt=0, at=3.0)], steps)) == []
    assert len(list(checker.nothing_again([mark(attempt=1, at=3.0), mark(attempt=2, at=3.0)], steps))) == 2


def test_two_successes_of_a_task_are_found() -> None:
    both = [step(0, AttemptPhase.SUCCEEDED, 1), step(1, AttemptPhase.SUCCEEDED, 2)]
    assert list(checker.succeeded_once(both[:1])) == []
    assert len(list(checker.succeeded_once(both))) == 1


def test_falling_epochs_claims_that_raise_nothing_and_strangers_are_found() -> None:
    assert list(checker.epochs_rise([commit(1, kind="claim"), commit(1), commit(2, "b", "b", "claim")])) == []
    assert len(list(checker.epochs_rise([commit(2), commit(1)]))) == 1
    assert len(list(checker.epochs_rise([commit(1), commit(1, kind="claim")]))) == 1
    assert len(list(checker.epochs_rise([commit(2, writer="b")]))) == 1


def test_each_shard_has_epochs_of_its_own() -> None:
    assert list(checker.epochs_rise([commit(2), commit(1, shard=1), commit(2)])) == []
    assert len(list(checker.epochs_rise([commit(2, shard=1), commit(3), commit(1, shard=1)]))) == 1
