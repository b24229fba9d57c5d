"""What the queue holds, as messages: numbers per shard, lane and priority, and single keys.

Looking costs as much as what is shown, and for delayed keys one pass over them; nothing is changed but that what is due
is done first.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from libs.workflow import errors
from libs.workqueue.metrics import Durations, Metrics
from protos import queue_pb2
from services.queue.line import Key, Place, State
from services.queue.shards import Shard, Shards

SHOWN: Final = 100
"""Keys of a shard, unless it is said how many."""

MOST: Final = 1_000
"""… and at most."""

_Stats = queue_pb2.StatsReply
_Entry = queue_pb2.InspectReply.Entry

_STATES: Final = {
    State.WAITING: queue_pb2.InspectReply.STATE_WAITING,
    State.GATHERING: queue_pb2.InspectReply.STATE_GATHERING,
    State.DELAYED: queue_pb2.InspectReply.STATE_DELAYED,
}


def key_message(shard: int, key: Key) -> queue_pb2.Key:
    return queue_pb2.Key(
        shard=shard, id=key.key, lane=key.lane, priority=key.priority, reasons=key.reasons, traceparent=key.trace
    )


def stats(shards: Shards, now_us: int) -> queue_pb2.StatsReply:
    """The numbers of all shards."""
    return _Stats(
        shards=[_shard(shard, now_us) for shard in shards],
        depth=shards.depth,
        limit=shards.limit,
    )


def inspect(shards: Shards, number: int | None, limit: int, now_us: int) -> queue_pb2.InspectReply:
    """The keys of one shard or (None) of all, so many of each; `SHOWN` for 0.

    Raises:
        InvalidArgument: more are asked for than a message should hold.
    """
    if limit > MOST:
        raise errors.InvalidArgument(f"limit: {limit} is more than {MOST}")
    asked = [shard for shard in shards if number is None or shard.number == number]
    return queue_pb2.InspectReply(
        entries=[entry for shard in asked for entry in islice(_entries(shard, limit or SHOWN, now_us), limit or SHOWN)]
    )


def _shard(shard: Shard, now_us: int) -> queue_pb2.StatsReply.Shard:
    queue, counts = shard.queue, shard.counts
    queue.advance(now_us)
    paused_until_us = queue.paused_until_us
    return _Stats.Shard(
        shard=shard.number,
        waiting=len(queue),
        delayed=queue.delayed,
        gathering=queue.gathering,
        leased=shard.stream.leased if shard.stream is not None else 0,
        oldest_us=queue.oldest_us(now_us),
        epoch=shard.epoch,
        propeller=shard.stream.propeller if shard.stream is not None else "",
        added=counts.added,
        collapsed=counts.collapsed,
        delivered=counts.delivered,
        redelivered=counts.redelivered,
        paused_us=0 if paused_until_us is None else paused_until_us - now_us,
        lanes=[
            _Stats.Lane(priority=priority, lane=lane, waiting=waiting) for priority, lane, waiting in queue.counts()
        ],
        metrics=_metrics(queue.metrics.at(now_us)),
    )


def _metrics(metrics: Metrics) -> queue_pb2.StatsReply.Metrics:
    return _Stats.Metrics(
        depth=metrics.depth,
        adds=metrics.adds,
        queue_latency=_durations(metrics.queue_latency),
        work_duration=_durations(metrics.work_duration),
        unfinished_work_us=metrics.unfinished_work_us,
        longest_running_processor_us=metrics.longest_running_processor_us,
        retries=metrics.retries,
    )


def _durations(durations: Durations) -> queue_pb2.StatsReply.Durations:
    return _Stats.Durations(
        count=durations.count,
        total_us=durations.total_us,
        longest_us=durations.longest_us,
        buckets=durations.buckets,
    )


def _entries(shard: Shard, limit: int, now_us: int) -> Iterator[queue_pb2.InspectReply.Entry]:
    shard.queue.advance(now_us)
    if shard.stream is not None:
        for number, held in shard.stream.leases:
            yield _Entry(
                key=key_message(shard.number, held.key),
                state=queue_pb2.InspectReply.STATE_LEASED,
                age_us=now_us - held.since_us,
                retries=shard.queue.retries(held.key.key),
                propeller=shard.stream.propeller,
                lease=number,
            )
    for place in shard.queue.places(limit):
        yield _place(shard, place, now_us)


def _place(shard: Shard, place: Place, now_us: int) -> queue_pb2.InspectReply.Entry:
    key = key_message(shard.number, place.key)
    if place.state is State.DELAYED:
        key.delay_us = max(place.at_us - now_us, 0)
    return _Entry(
        key=key,
        state=_STATES[place.state],
        age_us=0 if place.state is State.DELAYED else now_us - place.at_us,
        retries=shard.queue.retries(place.key.key),
    )
