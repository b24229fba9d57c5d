"""The worker pool against a model so naive that it is obviously right: lists, and a loop that starts what may start.

Every job waits until the test tells it how to end, so that after each step, when the event loop has come to rest, the
pool and the model must agree on what waits, what runs, how each job has ended and which pauses are quiet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.workerpool import JobFuture, Pause, PoolStopped, WorkerPool

# Sleepers retire at once, or never during a test.
IDLE_SECONDS = st.sampled_from([0.0, 60.0])
SIZES = st.integers(1, 4)
BOUNDS = st.integers(0, 3)


@dataclass
class Model:
    """Jobs are numbers, bars are strings."""

    size: int
    line: list[int | str] = field(default_factory=list)
    guests: list[tuple[int, int]] = field(default_factory=list)
    """(job, how many may wait) of those who wait for room."""
    running: list[int] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    ends: dict[int, str] = field(default_factory=dict)
    stopped: bool = False

    def waiting(self) -> list[int]:
        return [entry for entry in self.line if isinstance(entry, int)]

    def has_room(self, max_waiting: int) -> bool:
        barred = any(isinstance(entry, str) for entry in self.line)
        free = 0 if barred else max(0, self.size - len(self.running))
        return len(self.waiting()) < free + max_waiting

    def settle(self) -> None:
        """Starts and lets in whatever may be, until nothing changes."""
        changed = True
        while changed:
            changed = False
            while self.line and isinstance(self.line[0], int) and len(self.running) < self.size:
                job = self.line.pop(0)
                assert isinstance(job, int)
                self.running.append(job)
                self.started.append(job)
                changed = True
            while self.guests and self.has_room(self.guests[0][1]):
                self.line.append(self.guests.pop(0)[0])
                changed = True

    def end(self, job: int, how: str) -> None:
        self.running.remove(job)
        self.ends[job] = how

    def drop(self) -> None:
        for job in self.waiting():
            self.ends[job] = "dropped"
        self.line = [entry for entry in self.line if isinstance(entry, str)]

    def stop(self) -> None:
        self.stopped = True
        for job, _ in self.guests:
            self.ends[job] = "dropped"
        self.guests = []
        self.line = self.waiting()

    def quiet(self) -> str | None:
        """The pause that is quiet."""
        first = self.line[0] if self.line else None
        return first if isinstance(first, str) and not self.running else None


class PoolMachine(RuleBasedStateMachine):
    @initialize(size=SIZES, idle_seconds=IDLE_SECONDS)
    def begin(self, size: int, idle_seconds: float) -> None:
        self.loop = asyncio.new_event_loop()
        self.errors: list[str] = []
        self.pool = WorkerPool(size, idle_seconds=idle_seconds, on_error=lambda error: self.errors.append(str(error)))
        self.model = Model(size)
        self.number = 0
        self.gates: dict[int, asyncio.Future[str]] = {}
        self.started: list[int] = []
        self.running: set[int] = set()
        self.most = 0
        self.futures: dict[int, JobFuture[str]] = {}
        self.producers: dict[int, asyncio.Task[None]] = {}
        self.pausing: dict[str, asyncio.Task[Pause]] = {}
        self.expected_errors: list[str] = []
        self.ending: list[asyncio.Task[None]] = []

    async def job(self, number: int) -> str:
        self.started.append(number)
        self.running.add(number)
        assert len(self.running) <= max(self.pool.size, self.most)
        try:
            return await self.gates[number]
        finally:
            self.running.discard(number)

    def do(self, step: Any) -> Any:
        """Calls the step within the loop, then lets the loop come to rest."""

        async def within() -> Any:
            result = step()
            for _ in range(60):
                await asyncio.sleep(0)
            return result

        result = self.loop.run_until_complete(within())
        self.model.settle()
        return result

    def new_job(self) -> int:
        self.number += 1
        self.gates[self.number] = self.loop.create_future()
        return self.number

    def task(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        async def await_it() -> Any:
            return await work

        return self.loop.create_task(await_it(), name="test")

    # ------------------------------------------------------------------------------------------------- submitting

    @rule()
    def submit(self) -> None:
        number = self.new_job()
        if self.model.stopped:
            assert self.do(lambda: self.refused(lambda: self.pool.submit(self.job, number)))
            return
        self.model.line.append(number)
        self.do(lambda: self.pool.submit(self.job, number))

    @rule(count=st.integers(1, 6))
    def submit_futures(self, count: int) -> None:
        numbers = [self.new_job() for _ in range(count)]
        if self.model.stopped:
            assert self.do(lambda: self.refused(lambda: self.pool.submit_future(self.job, numbers[0])))
            return
        self.model.line.extend(numbers)
        self.futures |= self.do(lambda: {number: self.pool.submit_future(self.job, number) for number in numbers})

    @precondition(lambda self: not self.model.stopped)
    @rule(bound=BOUNDS)
    def try_submit(self, bound: int) -> None:
        number = self.new_job()
        room = not self.model.guests and self.model.has_room(bound)
        if room:
            self.model.line.append(number)
        assert self.do(lambda: self.pool.try_submit(self.job, number, max_waiting=bound)) == room

    @precondition(lambda self: not self.model.stopped)
    @rule(bound=BOUNDS)
    def submit_when_room(self, bound: int) -> None:
        number = self.new_job()
        self.model.guests.append((number, bound))
        self.producers[number] = self.do(
            lambda: self.task(self.pool.submit_when_room(self.job, number, max_waiting=bound))
        )

    @precondition(lambda self: self.model.guests)
    @rule(data=st.data())
    def give_up_waiting_for_room(self, data: st.DataObject) -> None:
        guest = data.draw(st.sampled_from(self.model.guests))
        self.model.guests.remove(guest)
        self.do(self.producers.pop(guest[0]).cancel)

    # ------------------------------------------------------------------------------------------------------ ending

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), fails=st.booleans())
    def let_some_end(self, data: st.DataObject, fails: bool) -> None:
        numbers = data.draw(st.lists(st.sampled_from(self.model.running), min_size=1, unique=True))
        for number in numbers:
            self.model.end(number, "failed" if fails else "done")
            if fails and number not in self.futures:
                self.expected_errors.append(f"job {number}")
        self.do(lambda: [self.open_gate(number, fails) for number in numbers])

    def open_gate(self, number: int, fails: bool) -> None:
        if fails:
            self.gates[number].set_exception(ValueError(f"job {number}"))
        else:
            self.gates[number].set_result("done")

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def cancel_one(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.futures)))
        if number in self.model.running:
            self.model.end(number, "cancelled")
        elif number in self.model.line:
            self.model.line.remove(number)
            self.model.ends[number] = "cancelled"
        self.do(self.futures[number].cancel)

    # ---------------------------------------------------------------------------------------------------- steering

    @rule(size=SIZES)
    def resize(self, size: int) -> None:
        self.most = max(self.most, len(self.running))
        self.model.size = size
        self.do(lambda: self.pool.resize(size))

    @precondition(lambda self: not self.model.stopped and len(self.pausing) < 3)
    @rule()
    def pause(self) -> None:
        self.number += 1
        name = f"pause {self.number}"
        self.model.line.append(name)
        self.pausing[name] = self.do(lambda: self.task(self.pool.pause()))

    @precondition(lambda self: self.pausing)
    @rule(data=st.data())
    def end_a_pause(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.pausing)))
        if name in self.model.line:
            self.model.line.remove(name)
        pausing = self.pausing.pop(name)
        self.do(lambda: pausing.result().resume() if pausing.done() and not pausing.exception() else pausing.cancel())

    @precondition(lambda self: self.number > 15)
    @rule(way=st.sampled_from(["stop", "stop_wait", "cancel"]))
    def stop(self, way: str) -> None:
        if way != "stop_wait":
            self.model.drop()
        if way == "cancel":
            for number in list(self.model.running):
                self.model.end(number, "cancelled")
        self.model.stop()
        self.ending.append(self.do(lambda: self.task(getattr(self.pool, way)())))

    # -------------------------------------------------------------------------------------------------- the agreement

    @invariant()
    def pool_and_model_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        model, pool = self.model, self.pool
        assert self.started == model.started
        assert self.running == set(model.running)
        assert pool.running == len(model.running)
        assert pool.waiting_queue_size == len(model.waiting())
        assert len(model.running) <= pool.workers <= max(model.size, len(model.running))
        assert self.errors == self.expected_errors
        assert {number: self.end_of(number) for number in self.futures} == {
            number: model.ends.get(number) for number in self.futures
        }
        assert pool.stopped == model.stopped
        assert all(ending.done() == (not model.running and not model.line) for ending in self.ending)

    @invariant()
    def only_the_first_pause_is_quiet(self) -> None:
        for name, pausing in getattr(self, "pausing", {}).items():
            if self.model.stopped:
                assert pausing.done()
            elif name == self.model.quiet():
                assert not pausing.result().over
            else:
                assert not pausing.done()

    def end_of(self, number: int) -> str | None:
        future = self.futures[number]
        if not future.done():
            return None
        if future.cancelled():
            return "cancelled"
        error = future.exception()
        return "done" if error is None else "dropped" if isinstance(error, PoolStopped) else "failed"

    @staticmethod
    def refused(step: Any) -> bool:
        try:
            step()
        except PoolStopped:
            return True
        return False

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.loop.run_until_complete(self.end_all())
            self.loop.close()

    async def end_all(self) -> None:
        await self.pool.cancel()
        assert self.pool.workers == 0 and not self.running
        assert all(future.done() for future in self.futures.values()), "nobody is left waiting"
        waiting = [*self.producers.values(), *self.pausing.values(), *self.ending]
        await asyncio.gather(*waiting, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
