"""How turns share a leader's event loop: in rows, each with its own time, and none held up by others or by reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

from libs.runtime.clock import SystemClock
from libs.wire.session import ReportPhase
from libs.workflow.machine import Execution
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import Snapshot
from libs.workqueue import DelayingQueue, Item, QueueMetrics, WorkQueue
from services.propeller import reconcile
from tests.support.graphs import Plan, Step
from tests.support.terms import Leading, leading
from tests.support.waiting import until

ONE = Plan((Step("n0"),))


def _keep_busy(it: Leading, key: int, while_: Callable[[], bool]) -> None:
    """Sees to it that an execution always has one more turn."""

    def again() -> None:
        if while_():
            it.term.reconciler.when_settled(key, again)
            it.term.reconciler.attend(key)

    again()


async def test_an_execution_that_needs_a_worker_gets_the_only_one_though_others_have_turns_all_the_time(
    tmp_path: Path,
) -> None:
    async with leading(tmp_path, workers=1) as it:
        reconciler, library = it.term.reconciler, it.term.library
        restore, load = library.restore, library.load
        asked: list[int] = []
        begun: list[int] = []
        """How many turns there had been."""

        def ask(snapshot: Snapshot) -> Execution | None:
            asked.append(reconciler.turns)
            return restore(snapshot)

        def begin(snapshot: Snapshot) -> Coroutine[None, None, Execution]:
            begun.append(reconciler.turns)
            return load(snapshot)

        it.submit(ONE, *range(1, 11))
        for key in range(1, 11):
            await it.phase(key, ExecutionPhase.RUNNING)
            _keep_busy(it, key, lambda: not begun)
        library.restore, library.load = ask, begin  # type: ignore[method-assign]
        before = reconciler.turns
        await until(lambda: reconciler.turns > before + 1000)
        it.submit(Plan((Step("n0"),), name="another"), 11)
        await it.phase(11, ExecutionPhase.RUNNING)
        assert begun[0] - asked[0] < 1000


async def test_turns_are_given_though_all_workers_are_busy(tmp_path: Path) -> None:
    async with leading(tmp_path, workers=2) as it:
        executor = it.connect("e1")
        it.submit(ONE, 1)
        assignment = await executor.assigned("n0")
        go, load = asyncio.Event(), it.term.library.load

        async def load_slowly(snapshot: Snapshot) -> Execution:
            await go.wait()
            return await load(snapshot)

        it.term.library.load = load_slowly  # type: ignore[method-assign]
        for key in (2, 3):
            it.submit(Plan((Step("n0"),), name=f"cold-{key}"), key)
        await until(lambda: it.term._pool.running == 2 and not it.term.reconciler.arriving)
        executor.report(assignment.id, ReportPhase.SUCCEEDED)
        await executor.acknowledged("n0")
        go.set()
        for key in (2, 3):
            await it.phase(key, ExecutionPhase.RUNNING)


class Ticking(SystemClock):
    """So many microseconds pass between any two looks at it."""

    def __init__(self, step_us: int = 1) -> None:
        self._us = super().now_us()
        self.step_us = step_us

    def now_us(self) -> int:
        self._us += self.step_us
        return self._us

    def monotonic(self) -> float:
        """The same: a leader whose two clocks differ believes the one that goes on."""
        return self._us / 1e6


class Listening(QueueMetrics[int]):
    """Remembers how long each key has waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[int] = []

    def handed(self, key: int, waited_us: int, now_us: int) -> None:
        self.waits.append(waited_us)
        super().handed(key, waited_us, now_us)


async def test_each_turn_has_its_own_time_and_no_key_has_waited_for_less_than_nothing(tmp_path: Path) -> None:
    """A key may be added in one turn of a row of them, and have its own in the same row."""
    listening = Listening()
    async with leading(tmp_path, clock=Ticking()) as it:
        reconciler = it.term.reconciler
        reconciler._queue, reconciler._observed = DelayingQueue(WorkQueue(listening)), True
        it.submit(ONE, *range(1, 11))
        for key in range(1, 11):
            await it.phase(key, ExecutionPhase.RUNNING)
        assert len({it.store.executions[key].started_at_us for key in range(1, 11)}) == 10
        listening.waits.clear()
        _keep_busy(it, 1, lambda: len(listening.waits) < 30)
        await until(lambda: len(listening.waits) >= 30)
        assert min(listening.waits) >= 0


async def test_others_have_the_loop_when_a_row_of_turns_has_taken_its_time(tmp_path: Path) -> None:
    clock = Ticking()
    async with leading(tmp_path, clock=clock) as it:
        reconciler = it.term.reconciler
        it.submit(ONE, *range(1, 33))
        for key in range(1, 33):
            await it.phase(key, ExecutionPhase.RUNNING)
        clock.step_us = reconcile.ROW_US // 3
        before = reconciler.turns
        reconciler.attend_all([Item(key) for key in range(1, 33)])
        while reconciler.turns < before + 32:
            given = reconciler.turns
            await asyncio.sleep(0)
            assert reconciler.turns - given <= 3


async def test_what_goes_wrong_beyond_a_turn_holds_no_others_up(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        reconciler = it.term.reconciler
        it.submit(ONE, 1, 2)
        for key in (1, 2):
            await it.phase(key, ExecutionPhase.RUNNING)
        await until(lambda: not reconciler.busy and not reconciler._coming)
        turn = reconciler._turn

        def fails(key: int, execution: Execution, now_us: int) -> None:
            if key == 1:
                raise OSError("a turn")
            turn(key, execution, now_us)

        def fails_too(key: int, error: Exception) -> None:
            raise OSError("what follows from that") from error

        reconciler._turn, reconciler._fail = fails, fails_too  # type: ignore[method-assign]
        mistakes: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: mistakes.append(context["exception"]))
        before = reconciler.turns
        reconciler.attend_all([Item(1), Item(2)])
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(mistakes) == 1 and reconciler.turns == before + 1
