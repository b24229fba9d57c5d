"""A term among executors that come and go, and a store that fails: nothing is lost, given twice, or left waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from libs.runtime.clock import SystemClock
from libs.wire.session import Assignment, ExecutorSays, Heartbeat, ReportPhase
from libs.workflow.errors import Unavailable
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution
from libs.workflow.machine import messages as m
from libs.workflow.machine.starts import STARTS_AT_ONCE
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from libs.workflow.state import Snapshot
from services.propeller import sessions, sources
from tests.support.graphs import Plan, Step
from tests.support.terms import leading, report_of
from tests.support.waiting import until

ONE = Plan((Step("n0"),))
TWO = Plan((Step("n0"), Step("n1")))
N0, N1 = AttemptId(1, "n0", 0), AttemptId(1, "n1", 0)


async def test_a_task_that_succeeds_is_acknowledged_once_that_is_durable(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(ONE, 1)
        executor.report((await executor.assigned("n0")).id, ReportPhase.SUCCEEDED)
        await executor.acknowledged("n0")
        assert it.store.nodes[1]["n0"].phase is NodePhase.SUCCEEDED
        executor.report((await executor.assigned("sum")).id, ReportPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.SUCCEEDED)
        assert len(it.term.library) == 0


async def test_a_finished_execution_leaves_nothing_behind_in_memory(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1", cores=200)
        it.submit(TWO, *range(1, 51))
        for key in range(1, 51):
            for node in ("n0", "n1", "sum"):
                id = AttemptId(key, node, 0)
                await until(lambda id=id: id in executor.session.known, "assignment")
                executor.report(id, ReportPhase.RUNNING, 1)
                executor.report(id, ReportPhase.SUCCEEDED, 2)
        await until(lambda: len(it.term.library) == 0 and not executor.session.known, "the end")
        reconciler, placement = it.term.reconciler, it.term.placement
        for left in (reconciler._inbox, reconciler._settled, reconciler._open, placement._held, placement.pending):
            assert not left
        assert not placement._of_execution
        assert placement.rooms.all()[0].used == (0, 0, 0)


async def test_what_cannot_all_begin_in_one_turn_begins_in_the_next_ones(tmp_path: Path) -> None:
    plan = Plan(tuple(Step(f"n{number}") for number in range(2 * STARTS_AT_ONCE + 1)))
    async with leading(tmp_path) as it:
        executor = it.connect("e1", cores=10_000)
        it.submit(plan, 1)
        await until(lambda: sum(isinstance(each, Assignment) for each in executor.sent) == len(plan.steps), "all")
        assert it.term.reconciler.turns >= 3


async def test_an_executor_that_restarts_between_a_placement_and_its_turn_loses_the_attempt(tmp_path: Path) -> None:
    """The slot is taken when it becomes free, the turn that commits it comes later: the executor may be another."""
    async with leading(tmp_path) as it:
        it.submit(ONE, 1)
        await it.phase(1, ExecutionPhase.RUNNING)
        await until(lambda: it.term.placement.pending == 1, "a place in the line")
        it.connect("e1", life="1")  # takes the slot …
        second = it.connect("e1", life="2")  # … and is gone before the turn
        await second.assigned("n0", 1)
        assert it.store.attempts[1]["n0", 0].phase is AttemptPhase.LOST
        assert not second.of(Assignment, "n0", 0)


async def test_what_an_executor_had_not_begun_before_it_was_restarted_costs_no_retry(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        it.submit(TWO, 1)
        first = it.connect("e1", life="1")
        await first.assigned("n0")
        await first.assigned("n1")
        second = it.connect("e1", life="2", former="1", begun=(N1,))
        await second.assigned("n0", 1)
        await second.assigned("n1", 1)
        attempts, nodes = it.store.attempts[1], it.store.nodes[1]
        assert (attempts["n0", 0].phase, nodes["n0"].system_failures) == (AttemptPhase.REJECTED, 0)
        assert (attempts["n1", 0].phase, nodes["n1"].system_failures) == (AttemptPhase.LOST, 1)
        third = it.connect("e1", life="4", former="3")
        await third.assigned("n0", 2)
        assert attempts["n0", 1].phase is AttemptPhase.LOST, "of the life 2 nothing is known"


async def test_a_slot_that_was_taken_before_a_failed_commit_is_not_taken_twice(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        first = it.connect("e1", cores=1)
        it.submit(TWO, 1)
        await first.assigned("n0")
        it.writer.before_commit, held, go = _hold_and_fail()
        first.report(N0, ReportPhase.RUNNING)
        await asyncio.to_thread(held.wait)
        second = it.connect("e2", cores=2)  # the slot for n1 is taken while a turn is open that will fail
        await asyncio.sleep(0.02)
        third = it.connect("e3", cores=3)
        it.writer.before_commit = lambda batch: None
        go.set()
        await until(lambda: bool(second.of(Assignment, "n1") or third.of(Assignment, "n1")), "assignment of n1")
        executor = it.store.attempts[1]["n1", 0].executor
        assert it.term.placement.attempts_on(str(executor)) == [N1]
        assert sum(room.used.cpu_millis for room in it.term.placement.rooms.all()) == 2000


async def test_an_executor_too_slow_for_its_messages_loses_its_session_and_nobody_else_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "OUTBOX_CAPACITY", 4)
    async with leading(tmp_path) as it:
        slow = it.connect("e1", reads=False)
        it.submit(Plan(tuple(Step(f"n{number}") for number in range(9))), 1)
        await until(lambda: slow.session not in it.term.sessions.connected(), "the end of the session")
        monkeypatch.undo()
        again = it.connect("e1")
        await until(lambda: sum(isinstance(each, Assignment) for each in again.sent) == 9, "all assignments")


async def test_a_session_that_has_ended_says_nothing_any_more(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        executor.disconnect()
        it.term.sessions.receive(executor.session, ExecutorSays(heartbeat=Heartbeat(1, "")))
        it.submit(ONE, 1)
        await it.phase(1, ExecutionPhase.RUNNING)
        await asyncio.sleep(0.05)
        assert it.store.attempts[1]["n0", 0].phase is AttemptPhase.WAITING_FOR_RESOURCES


async def test_an_executor_that_never_returns_is_forgotten_whether_it_held_anything_or_not(tmp_path: Path) -> None:
    async with leading(tmp_path, executor_grace_seconds=1.0) as it:
        it.connect("e1").disconnect()
        await until(lambda: not it.term.placement.rooms.all(), "no rooms")


async def test_what_is_to_be_stopped_is_not_sent_again_to_an_executor_that_returns(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(ONE, 1)
        await executor.assigned("n0")
        executor.disconnect()
        it.store.request_abort(1)
        await it.term.sources.attend_what_is_due()
        await it.phase(1, ExecutionPhase.ABORTING)
        again = it.connect("e1")  # it has never got the assignment: its snapshot is empty
        await it.phase(1, ExecutionPhase.ABORTED)
        assert not again.of(Assignment, "n0")


async def test_what_is_to_be_stopped_is_stopped_when_its_executor_returns(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(ONE, 1)
        executor.report((await executor.assigned("n0")).id, ReportPhase.RUNNING)
        executor.disconnect()
        it.store.request_abort(1)
        await it.term.sources.attend_what_is_due()
        await it.phase(1, ExecutionPhase.ABORTING)
        again = it.connect("e1", snapshot=(report_of(N0, ReportPhase.RUNNING),))
        await again.stopped("n0")
        again.report(N0, ReportPhase.ABORTED, 2)
        await it.phase(1, ExecutionPhase.ABORTED)
        await again.acknowledged("n0")


async def test_a_new_life_of_an_executor_may_still_tell_how_attempts_of_the_old_one_ended(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(TWO, 1)
        await executor.assigned("n0")
        await executor.assigned("n1")
        executor.disconnect()
        again = it.connect("e1", life="2", snapshot=(report_of(N0, ReportPhase.SUCCEEDED),))
        await again.acknowledged("n0")
        await again.assigned("n1", 1)
        assert it.store.attempts[1]["n0", 0].phase is AttemptPhase.SUCCEEDED
        assert it.store.attempts[1]["n1", 0].phase is AttemptPhase.LOST


async def test_a_new_leader_adopts_what_runs(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(TWO, 1)
        executor.report((await executor.assigned("n0")).id, ReportPhase.RUNNING)
        await executor.assigned("n1")
        await until(lambda: it.store.attempts[1]["n0", 0].phase is AttemptPhase.RUNNING, "n0 runs")
        it.writer.before_commit = _fail_once()
        executor.report(N1, ReportPhase.RUNNING)  # its commit fails: all is read again
        await until(lambda: it.store.attempts[1]["n1", 0].phase is AttemptPhase.RUNNING, "n1 runs")
        assert len(executor.of(Assignment, "n0")) == 1
        assert it.store.attempts[1]["n0", 0].phase is AttemptPhase.RUNNING


async def test_a_commit_whose_outcome_is_unknown_and_was_done_is_folded_in_again_harmlessly(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(ONE, 1)
        await executor.assigned("n0")
        it.writer.after_commit = _fail_once()
        executor.report(N0, ReportPhase.SUCCEEDED)
        await executor.acknowledged("n0")
        executor.report((await executor.assigned("sum")).id, ReportPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.SUCCEEDED)
        assert len(executor.of(Assignment, "sum")) == 1


async def test_reports_that_are_repeated_during_an_outage_are_kept_once(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(ONE, 1)
        await executor.assigned("n0")
        it.store.away = True
        said = report_of(N0, ReportPhase.SUCCEEDED)
        for _ in range(50):
            executor.say(said)
            await asyncio.sleep(0.002)
        assert 1 <= len(it.term.reconciler._inbox[1]) <= 2
        it.store.away = False
        await executor.acknowledged("n0")


async def test_stopping_in_the_middle_of_work_is_no_failure(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(TWO, *range(1, 201))
        await executor.assigned("n0")
        it.writer.before_commit, held, go = _hold(0.05)
        for key in range(1, 201):
            executor.report(AttemptId(key, "n0", 0), ReportPhase.RUNNING, 1)
        await asyncio.to_thread(held.wait)
        it.stopping.set()
        for key in range(1, 201):
            executor.report(AttemptId(key, "n0", 0), ReportPhase.SUCCEEDED, 2)
        await asyncio.sleep(0.01)
        executor.report(N1, ReportPhase.RUNNING, 1)
        go.set()
        await it.leading


async def test_a_leader_that_stops_does_not_spin_on_keys_that_get_no_turn_any_more(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        it.writer.before_commit, held, go = _hold()
        it.submit(ONE, 1)
        await asyncio.to_thread(held.wait)
        it.term.reconciler.attend(2, delay_us=1)
        it.stopping.set()
        await until(lambda: it.term.reconciler.next_due_us() is None, "nothing is due any more")
        assert not it.leading.done()
        go.set()
        await it.leading


async def test_rows_that_make_no_sense_set_aside_their_execution_and_no_other(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:

        def broken(keys: Sequence[int]) -> None:
            if 3 in keys:
                raise ValueError("99 is not a valid NodePhase")

        it.reader.before_load = broken
        it.submit(ONE, *range(1, 6))
        for key in (1, 2, 4, 5):
            await it.phase(key, ExecutionPhase.RUNNING)
        await asyncio.sleep(0.1)
        assert {key: it.store.executions[key].phase for key in (1, 2, 4, 5)} == dict.fromkeys(
            (1, 2, 4, 5), ExecutionPhase.RUNNING
        )
        it.reader.before_load = lambda keys: None
        await it.phase(3, ExecutionPhase.FAILED)


async def test_an_illegal_transition_changes_nothing_but_that_its_execution_is_set_aside(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.submit(TWO, 1, 2)
        for key in (1, 2):
            await until(lambda key=key: AttemptId(key, "n0", 0) in executor.session.known, "assignment")
        execution = it.term.library.get(1)
        assert execution is not None
        execution.live["n0"].state.phase = NodePhase.SKIPPED  # as no sequence of events can make it
        executor.report(N0, ReportPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.FAILED)
        error = it.store.executions[1].error or b""
        assert b"IllegalTransition: node n0 cannot go from SKIPPED to SUCCEEDED" in error
        assert it.store.nodes[1]["n0"].outputs is None
        await executor.acknowledged("n0")
        executor.report(AttemptId(1, "n1", 0), ReportPhase.RUNNING)
        await executor.stopped("n1")
        assert it.store.executions[2].phase is ExecutionPhase.RUNNING
        await until(lambda: len(it.term.placement.attempts_on("e1")) == 2, "only the slots of the other are held")


async def test_executions_that_have_to_be_loaded_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leading(tmp_path) as it:
        load, loading, go = it.term.library.load, set[int](), asyncio.Event()

        async def slowly(snapshot: Snapshot) -> Execution:
            loading.add(snapshot.execution.key)
            await go.wait()
            return await load(snapshot)

        monkeypatch.setattr(it.term.library, "load", slowly)
        keys = range(1, 6)
        it.submit(ONE, *keys)
        await until(lambda: loading == set(keys), "all loads at once")
        go.set()
        for key in keys:
            await it.phase(key, ExecutionPhase.RUNNING)


def waited(go: threading.Event) -> None:
    assert go.wait(30)


async def test_no_worker_is_free_while_the_store_keeps_as_many_executions_as_there_are(tmp_path: Path) -> None:
    go = threading.Event()
    async with leading(tmp_path) as it:
        look = it.term._look
        assert look().free_workers == look().workers > 0
        it.reader.before_load = lambda keys: waited(go)
        try:
            it.submit(ONE, *range(1, look().workers + 10))
            await until(lambda: look().free_workers == 0, "none is free")
        finally:
            go.set()
        await until(lambda: look().free_workers == look().workers, "all are free again")


async def test_a_session_with_a_term_that_is_over_is_ended_at_once(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        it.stopping.set()
        await it.leading
        late = it.connect("e1")
        assert late.session.outbox.closed


async def test_messages_of_a_session_that_is_closed_twice_are_counted_once(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.term.sessions.receive(executor.session, ExecutorSays(heartbeat=Heartbeat(1, "")))
        executor.disconnect()
        executor.disconnect()
        assert it.term.sessions.messages[1] == 1


async def test_who_waits_to_try_again_does_not_wait_for_as_long_as_the_clock_is_set_back(tmp_path: Path) -> None:
    class Machine(SystemClock):
        back_us = 0

        def now_us(self) -> int:
            return super().now_us() - self.back_us

    machine, failed = Machine(), list[object]()

    def fail(batch: object) -> None:
        if len(failed) < 4:  # after which it waits for most of a second
            failed.append(batch)
            raise Unavailable("the connection broke")

    async with leading(tmp_path, clock=machine) as it:
        it.writer.before_commit = fail
        it.submit(ONE, 1)
        await until(lambda: len(failed) == 4 and it.term.reconciler._resting, "the last failure")
        machine.back_us = 3_600_000_000
        executor = it.connect("e1")
        for node in ("n0", "sum"):
            executor.report((await executor.assigned(node)).id, ReportPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.SUCCEEDED)


def _fail_once() -> Callable[[object], None]:
    failed: list[bool] = []

    def fail(batch: object) -> None:
        if not failed:
            failed.append(True)
            raise Unavailable("the connection broke")

    return fail


def _hold(seconds: float = 5.0) -> tuple[Callable[[object], None], threading.Event, threading.Event]:
    """A commit that waits until it may go on."""
    held, go = threading.Event(), threading.Event()

    def hold(batch: object) -> None:
        held.set()
        go.wait(seconds)

    return hold, held, go


def _hold_and_fail() -> tuple[Callable[[object], None], threading.Event, threading.Event]:
    hold, held, go = _hold()

    def fail(batch: object) -> None:
        hold(batch)
        raise Unavailable("the connection broke")

    return fail, held, go


async def test_a_fact_that_is_told_again_counts_after_what_was_told_meanwhile(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        answered, freed = m.CacheAnswered("n0", None, reserved=False), m.CacheFreed(b"k")
        for event in (freed, answered, freed):
            it.term.reconciler.tell(1, event)
        assert list(it.term.reconciler._inbox[1]) == [answered, freed]


async def test_however_many_executions_fail_at_once_their_descendants_are_looked_for_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leading(tmp_path) as it:
        looks = 0

        def due(shard: int, now_us: int, limit: int, *, new: bool) -> list[int]:
            nonlocal looks
            looks += 1
            return []

        monkeypatch.setattr(it.reader, "due", due)
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            it.term.attend_below()
            await asyncio.sleep(0.002)
        assert 1 <= looks <= 2 + (asyncio.get_running_loop().time() - began) / sources.BELOW_SECONDS
