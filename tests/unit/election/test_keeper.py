"""The election's thread, with an etcd that does as it is told."""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from libs.election.etcd import Etcd, Reading
from libs.election.keeper import Held, Keeper
from libs.election.tenure import Tenure
from libs.runtime.clock import SystemClock
from libs.workflow import errors

LEASE = 7


class Time:
    """A clock that goes on when a test says so, and the jobs of a thread that waits by it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._now = 0.0
        self._jobs: deque[Any] = deque()
        self._waits_until: float | None = None
        """When whoever waits for a job is to go on without; None while nobody waits."""

    def monotonic(self) -> float:
        return self._now

    def now_us(self) -> int:
        return int(self._now * 1e6)

    def put(self, job: Any) -> None:
        with self._changed:
            self._jobs.append(job)
            self._waits_until = None
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> Any:
        with self._changed:
            until = math.inf if timeout is None else self._now + timeout
            while not self._jobs and self._now < until:
                self._waits_until = until
                self._changed.notify_all()
                self._changed.wait()
            self._waits_until = None
            if not self._jobs:
                raise queue.Empty
            return self._jobs.popleft()

    def takes(self, seconds: float) -> None:
        """What the thread itself does takes so long."""
        self._now += seconds

    def passes(self, seconds: float) -> None:
        """From when the thread waits on; returns when it waits again, with all done that was due."""
        with self._changed:
            self._await_wait()
            end = self._now + seconds
            while self._waits_until is not None and self._waits_until <= end:
                self._now, self._waits_until = self._waits_until, None
                self._changed.notify_all()
                self._await_wait()
            self._now = max(self._now, end)

    def _await_wait(self) -> None:
        assert self._changed.wait_for(lambda: self._waits_until is not None, 10), "the thread does not wait"


class ScriptedEtcd:
    """Answers keep-alives as the test wants, and counts them."""

    def __init__(self) -> None:
        self.refresh_answer: Callable[[], int] = lambda: 1
        self.key_lease = LEASE
        self.refreshed = 0
        self.threads: set[str] = set()
        self.closed = False

    def refresh(self, lease_id: int) -> int:
        self.refreshed += 1
        self.threads.add(threading.current_thread().name)
        return self.refresh_answer()

    def read(self, key: str) -> Reading:
        return Reading("c", b"", 1, self.key_lease)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A keeper of a lease of one second, margin 0.2 s."""

    def __init__(self) -> None:
        self.etcd = ScriptedEtcd()
        self.time = Time()
        self.keeper = Keeper(cast(Etcd, self.etcd), 1, 0.2, self.time, "keeper")
        self.keeper._jobs = cast(Any, self.time)
        self.tenure = Tenure(LEASE, 0.8, self.time)
        self.losses: list[str] = []

    def hold(self) -> None:
        self.run(lambda _: self.keeper.hold(Held(self.tenure, "/k", self.losses.append)))

    def run(self, job: Callable[[Any], Any]) -> Any:
        return self.keeper.call(job).result(5)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.keeper.close()


def test_a_lease_is_kept_alive_every_third_of_its_life_from_the_keepers_thread(bench: Bench) -> None:
    bench.hold()
    bench.time.passes(1.2)
    assert bench.etcd.refreshed == 3 and bench.etcd.threads == {"keeper"}
    assert not bench.losses and bench.tenure.deadline() == pytest.approx(1.8)


def test_jobs_cannot_keep_a_keep_alive_from_its_turn(bench: Bench) -> None:
    bench.hold()
    for _ in range(24):
        bench.keeper.call(lambda _: bench.time.takes(0.05))
    bench.time.passes(0.0)
    assert bench.time.monotonic() == pytest.approx(1.2)
    assert bench.etcd.refreshed == 3 and not bench.losses


def test_a_lease_that_is_gone_is_a_loss_at_once(bench: Bench) -> None:
    bench.etcd.refresh_answer = lambda: 0
    bench.hold()
    bench.time.passes(0.4)
    assert bench.losses == ["its lease is gone"]
    assert bench.tenure.ended and bench.etcd.refreshed == 1


def test_failures_are_tried_again_until_the_deadline_and_not_beyond(bench: Bench) -> None:
    def fail() -> int:
        raise errors.Unavailable("no")

    bench.etcd.refresh_answer = fail
    bench.hold()
    bench.time.passes(0.9)
    assert bench.losses == ["it was not renewed in time"]
    assert bench.etcd.refreshed == 5  # a third of a second after the start, and four times again after a tenth
    bench.time.passes(1.0)
    assert bench.etcd.refreshed == 5


def test_a_surprise_does_not_end_the_thread(bench: Bench) -> None:
    surprises = iter([ValueError("who would have thought")])

    def surprise_once() -> int:
        for surprise in surprises:
            raise surprise
        return 1

    bench.etcd.refresh_answer = surprise_once
    bench.hold()
    bench.time.passes(1.0)
    assert bench.etcd.refreshed == 3 and not bench.losses


def test_an_answer_that_comes_after_the_deadline_does_not_renew(bench: Bench) -> None:
    def slow() -> int:
        bench.time.takes(0.7)
        return 1

    bench.etcd.refresh_answer = slow
    bench.hold()
    bench.time.passes(0.4)
    assert bench.losses == ["it was renewed too late"]
    assert bench.tenure.ended


def test_a_key_that_was_deleted_or_taken_is_a_loss(bench: Bench) -> None:
    bench.etcd.key_lease = 8
    bench.hold()
    bench.time.passes(0.4)
    assert bench.losses == ["its key was deleted"]


def test_what_is_let_go_is_kept_alive_no_longer(bench: Bench) -> None:
    bench.hold()
    bench.run(lambda _: bench.keeper.let_go(LEASE + 1))
    bench.run(lambda _: bench.keeper.let_go(LEASE))
    bench.time.passes(0.5)
    assert bench.etcd.refreshed == 0 and not bench.losses


def test_a_job_gives_its_result_or_its_error_to_whoever_gave_it(bench: Bench) -> None:
    assert bench.run(lambda _: 42) == 42
    with pytest.raises(ZeroDivisionError):
        bench.run(lambda _: 1 / 0)
    assert bench.run(lambda _: 43) == 43


def test_closing_finishes_the_jobs_given_and_ends_the_thread_and_the_connection() -> None:
    bench = Bench()
    last = bench.keeper.call(lambda _: "done")
    bench.keeper.close()
    assert last.result(0) == "done" and bench.etcd.closed
    assert "keeper" not in {thread.name for thread in threading.enumerate()}


def test_a_keeper_that_never_had_a_job_has_no_thread() -> None:
    Keeper(cast(Etcd, ScriptedEtcd()), 1, 0.2, SystemClock(), "lazy").close()
    assert "lazy" not in {thread.name for thread in threading.enumerate()}
