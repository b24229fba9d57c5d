"""The election's thread, with an etcd that does as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from libs.election.etcd import Etcd, Reading
from libs.election.keeper import Held, Keeper
from libs.election.tenure import Tenure
from libs.runtime.clock import SystemClock
from libs.workflow import errors

CLOCK = SystemClock()
LEASE = 7


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
        self.keeper = Keeper(cast(Etcd, self.etcd), 1, 0.2, CLOCK, "keeper")
        self.tenure = Tenure(LEASE, CLOCK.monotonic() + 0.8, CLOCK)
        self.losses: list[str] = []

    def hold(self) -> None:
        self.run(lambda _: self.keeper.hold(Held(self.tenure, "/k", self.losses.append)))

    def run(self, job: Callable[[Any], Any]) -> Any:
        return self.keeper.call(job).result(5)

    def until_lost(self) -> str:
        give_up = time.monotonic() + 5
        while not self.losses:
            assert time.monotonic() < give_up
            time.sleep(0.005)
        return self.losses[0]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.keeper.close()


def test_a_lease_is_kept_alive_every_third_of_its_life_from_the_keepers_thread(bench: Bench) -> None:
    bench.hold()
    time.sleep(1.2)
    assert bench.etcd.refreshed in (2, 3) and bench.etcd.threads == {"keeper"}
    assert not bench.losses and bench.tenure.deadline() > CLOCK.monotonic() + 0.3


def test_jobs_cannot_keep_a_keep_alive_from_its_turn(bench: Bench) -> None:
    bench.hold()
    for _ in range(24):
        bench.keeper.call(lambda _: time.sleep(0.05))
    time.sleep(1.0)
    assert bench.etcd.refreshed >= 2 and not bench.losses


def test_a_lease_that_is_gone_is_a_loss_at_once(bench: Bench) -> None:
    bench.etcd.refresh_answer = lambda: 0
    bench.hold()
    assert bench.until_lost() == "its lease is gone"
    assert bench.tenure.ended and bench.etcd.refreshed == 1


def test_failures_are_tried_again_until_the_deadline_and_not_beyond(bench: Bench) -> None:
    def fail() -> int:
        raise errors.Unavailable("no")

    bench.etcd.refresh_answer = fail
    bench.hold()
    assert bench.until_lost() == "it was not renewed in time"
    tries = bench.etcd.refreshed
    assert 3 <= tries <= 6
    time.sleep(0.4)
    assert bench.etcd.refreshed == tries


def test_a_surprise_does_not_end_the_thread(bench: Bench) -> None:
    surprises = iter([ValueError("who would have thought")])

    def surprise_once() -> int:
        for surprise in surprises:
            raise surprise
        return 1

    bench.etcd.refresh_answer = surprise_once
    bench.hold()
    time.sleep(1.0)
    assert bench.etcd.refreshed >= 3 and not bench.losses


def test_an_answer_that_comes_after_the_deadline_does_not_renew(bench: Bench) -> None:
    def slow() -> int:
        time.sleep(0.7)
        return 1

    bench.etcd.refresh_answer = slow
    bench.hold()
    assert bench.until_lost() == "it was renewed too late"
    assert bench.tenure.ended


def test_a_key_that_was_deleted_or_taken_is_a_loss(bench: Bench) -> None:
    bench.etcd.key_lease = 8
    bench.hold()
    assert bench.until_lost() == "its key was deleted"


def test_what_is_let_go_is_kept_alive_no_longer(bench: Bench) -> None:
    bench.hold()
    bench.run(lambda _: bench.keeper.let_go(LEASE + 1))
    bench.run(lambda _: bench.keeper.let_go(LEASE))
    time.sleep(0.5)
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
    Keeper(cast(Etcd, ScriptedEtcd()), 1, 0.2, CLOCK, "lazy").close()
    assert "lazy" not in {thread.name for thread in threading.enumerate()}
