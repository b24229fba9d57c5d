"""What the queue service shows of its shards: client-go's metrics of each one's queue, and what is ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from libs.runtime.clock import Clock
from libs.telemetry import queues
from libs.telemetry.metrics import Board, Kind, Level, Metering, Metric, Values
from libs.telemetry.traces import Attribute
from libs.workqueue.metrics import QueueMetrics
from services.queue.hints import Relay
from services.queue.shards import Shard, Shards

LOOKED_AT: Final = (
    Metric(
        "airscrew.queue.keys",
        Kind.GAUGE,
        "{key}",
        "Keys of a shard, by state: waiting, gathering, delayed, leased",
        ("airscrew.shard", "airscrew.key.state"),
    ),
    Metric(
        "airscrew.queue.oldest_key.age",
        Kind.GAUGE,
        "s",
        "How long the key that waits longest could be handed out",
        ("airscrew.shard",),
    ),
    Metric("airscrew.queue.delivered", Kind.COUNTER, "{key}", "Keys that were handed out", ("airscrew.shard",)),
    Metric(
        "airscrew.queue.redelivered",
        Kind.COUNTER,
        "{key}",
        "Those of them whose first stream had broken",
        ("airscrew.shard",),
    ),
    Metric(
        "airscrew.queue.collapsed",
        Kind.COUNTER,
        "{key}",
        "Keys that waited already when they came",
        ("airscrew.shard",),
    ),
    Metric("airscrew.queue.refused", Kind.COUNTER, "{batch}", "How often there was no room"),
    Metric("airscrew.queue.paused", Kind.GAUGE, "{shard}", "1 while a shard is paused, else 0", ("airscrew.shard",)),
    Metric(
        "airscrew.queue.leaders",
        Kind.GAUGE,
        "{stream}",
        "1 while somebody takes keys of a shard, else 0",
        ("airscrew.shard",),
    ),
    Metric("airscrew.queue.watchers", Kind.GAUGE, "{stream}", "Who is told of what has been committed"),
)
METRICS: Final = (*LOOKED_AT, *queues.METRICS)


def observer(metering: Metering) -> Callable[[int], QueueMetrics[int]] | None:
    """What makes the counter of a shard that also tells latencies; None where nobody collects metrics."""
    if not metering.enabled:
        return None
    recorders = queues.Recorders(metering)
    return lambda shard: recorders.observer(_name(shard))


def board(metering: Metering, shards: Shards, relay: Relay, clock: Clock) -> Board:
    """Shows all shards."""
    return Board(
        metering,
        (*LOOKED_AT, *queues.LOOKED_AT),
        lambda: _look(shards, relay, int(clock.monotonic() * 1e6)),
    )


def _look(shards: Shards, relay: Relay, now_us: int) -> Values:
    found: dict[str, list[Level]] = queues.levels(
        {_name(shard.number): shard.queue.metrics.at(now_us) for shard in shards}
    )
    for shard in shards:
        for name, value in _of(shard, now_us):
            found.setdefault(name, []).append(Level(value, {"airscrew.shard": shard.number}))
        for state, keys in _keys(shard):
            about: dict[str, Attribute] = {"airscrew.shard": shard.number, "airscrew.key.state": state}
            found.setdefault("airscrew.queue.keys", []).append(Level(keys, about))
    found["airscrew.queue.refused"] = [Level(shards.refused, {})]
    found["airscrew.queue.watchers"] = [Level(relay.watchers, {})]
    return found


def _of(shard: Shard, now_us: int) -> tuple[tuple[str, float], ...]:
    return (
        ("airscrew.queue.oldest_key.age", shard.queue.oldest_us(now_us) / 1e6),
        ("airscrew.queue.delivered", shard.counts.delivered),
        ("airscrew.queue.redelivered", shard.counts.redelivered),
        ("airscrew.queue.collapsed", shard.counts.collapsed),
        ("airscrew.queue.paused", int((shard.queue.paused_until_us or 0) > now_us)),
        ("airscrew.queue.leaders", int(shard.stream is not None)),
    )


def _keys(shard: Shard) -> tuple[tuple[str, int], ...]:
    return (
        ("waiting", len(shard.queue)),
        ("gathering", shard.queue.gathering),
        ("delayed", shard.queue.delayed),
        ("leased", 0 if shard.stream is None else shard.stream.leased),
    )


def _name(shard: int) -> str:
    return f"shard-{shard}"
