"""What is counted, after client-go's own definitions."""

from __future__ import annotations

import pytest

from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import ItemExponential
from libs.workqueue.metrics import DURATION_BOUNDS_US, QueueMetrics
from libs.workqueue.queue import WorkQueue


def observed() -> tuple[DelayingQueue[str], QueueMetrics[str]]:
    metrics: QueueMetrics[str] = QueueMetrics()
    return DelayingQueue(WorkQueue(metrics)), metrics


def test_adds_count_keys_that_come_to_need_processing_and_not_those_that_collapse() -> None:
    queue, metrics = observed()
    queue.add(Item("a"), 0)
    queue.add(Item("a"), 1)
    assert metrics.at(1).adds == 1 and metrics.at(1).depth == 1
    queue.get(2)
    queue.add(Item("a"), 3)
    queue.add(Item("a"), 4)
    assert metrics.at(4).adds == 2 and metrics.at(4).depth == 1


def test_depth_counts_neither_delayed_keys_nor_those_that_are_only_processed() -> None:
    queue, metrics = observed()
    queue.add_after(Item("a"), 10, 0)
    queue.add(Item("b"), 0)
    assert metrics.at(0).depth == 1
    queue.get(0)
    assert metrics.at(0).depth == 0
    queue.advance(10)
    assert metrics.at(10).depth == 1


def test_latency_is_the_wait_since_the_add_or_the_end_of_the_delay() -> None:
    queue, metrics = observed()
    queue.add(Item("a"), 0)
    queue.add_after(Item("b"), 10, 0)
    queue.get(7)
    queue.get(30)
    latency = metrics.at(30).queue_latency
    assert (latency.count, latency.total_us, latency.longest_us) == (2, 27, 20)


def test_work_lasts_from_handing_out_to_done() -> None:
    queue, metrics = observed()
    queue.add(Item("a"), 0)
    queue.get(100)
    queue.done("a", 350)
    work = metrics.at(400).work_duration
    assert (work.count, work.total_us, work.longest_us) == (1, 250, 250)


def test_unfinished_work_is_the_sum_and_longest_running_the_most_of_the_ages() -> None:
    queue, metrics = observed()
    for at_us, key in ((0, "a"), (10, "b"), (20, "c")):
        queue.add(Item(key), at_us)
        queue.get(at_us)
    assert metrics.at(30).unfinished_work_us == 60 and metrics.at(30).longest_running_processor_us == 30
    queue.done("a", 30)
    assert metrics.at(40).unfinished_work_us == 50 and metrics.at(40).longest_running_processor_us == 30
    queue.done("c", 40)
    queue.done("b", 40)
    assert metrics.at(50).unfinished_work_us == 0 and metrics.at(50).longest_running_processor_us == 0


def test_every_delayed_add_is_a_retry_whatever_its_delay() -> None:
    queue, metrics = observed()
    queue.add_after(Item("a"), 10, 0)
    queue.add_after(Item("a"), 0, 0)
    queue.add(Item("b"), 0)
    limited = RateLimitingQueue(ItemExponential(10, 100), queue)
    limited.add_limited(Item("c"), 0)
    assert metrics.at(0).retries == 3


def test_what_is_ignored_is_not_counted() -> None:
    queue, metrics = observed()
    queue.done("a", 0)
    queue.get(0)
    queue.shut_down()
    queue.add(Item("a"), 0)
    queue.add_after(Item("a"), 10, 0)
    queue.add_after(Item("a"), 0, 0)
    assert metrics.at(0) == QueueMetrics[str]().at(0)


def test_durations_fall_into_powers_of_ten_up_to_the_bound() -> None:
    queue, metrics = observed()
    for waited_us in (0, 1, 2, 10, 11, 10**9, 10**9 + 1):
        queue.add(Item("a"), 0)
        queue.get(waited_us)
        queue.done("a", waited_us)
    latency = metrics.at(2 * 10**9).queue_latency
    assert latency.buckets[:3] == (2, 2, 1) and latency.buckets[-2:] == (1, 1)
    assert len(latency.buckets) == len(DURATION_BOUNDS_US) + 1 and sum(latency.buckets) == latency.count


def test_an_observed_queue_must_be_told_when_a_key_was_done() -> None:
    queue, metrics = observed()
    queue.add(Item("a"), 0)
    queue.get(0)
    with pytest.raises(ValueError, match="now_us"):
        queue.done("a")
    assert queue.processing == 1
    queue.done("a", 5)
    assert metrics.at(5).work_duration.total_us == 5
