"""The queue service as the commands see it, through `admin`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

from libs.rpc import errors
from libs.workflow.identity import ExecutionId
from protos import airscrew_pb2, airscrew_pb2_grpc, queue_pb2
from services.cli import queueviews as views

_DEADLINE_SECONDS: Final = 30.0

_REASONS: Final = tuple(
    (number, name.removeprefix("REASON_").lower()) for name, number in queue_pb2.Reason.items() if number
)


class Queue:
    """The calls that are about the queue."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._stub: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(connection)

    async def stats(self) -> views.Queue:
        with errors.of_rpc():
            reply = await self._stub.GetQueue(queue_pb2.StatsRequest(), timeout=_DEADLINE_SECONDS)
        return views.Queue(reply.depth, reply.limit, tuple(map(_shard, reply.shards)))

    async def inspect(self, shard: int | None, limit: int) -> Sequence[views.Entry]:
        """So many keys of one shard, or (None) of each."""
        request = queue_pb2.InspectRequest(shard=shard, limit=limit)
        with errors.of_rpc():
            reply = await self._stub.InspectQueue(request, timeout=_DEADLINE_SECONDS)
        return tuple(map(_entry, reply.entries))

    async def pause(self, shard: int | None, seconds: float) -> None:
        """One shard, or (None) all."""
        with errors.of_rpc():
            await self._stub.PauseQueue(
                queue_pb2.PauseRequest(shard=shard, ttl_us=round(seconds * 1e6)), timeout=_DEADLINE_SECONDS
            )

    async def resume(self, shard: int | None) -> None:
        with errors.of_rpc():
            await self._stub.ResumeQueue(queue_pb2.ResumeRequest(shard=shard), timeout=_DEADLINE_SECONDS)


def _shard(message: queue_pb2.StatsReply.Shard) -> views.Shard:
    return views.Shard(
        shard=message.shard,
        propeller=message.propeller,
        epoch=message.epoch,
        waiting=message.waiting,
        gathering=message.gathering,
        delayed=message.delayed,
        leased=message.leased,
        oldest_us=message.oldest_us,
        paused_us=message.paused_us,
        added=message.added,
        collapsed=message.collapsed,
        delivered=message.delivered,
        redelivered=message.redelivered,
        retries=message.metrics.retries,
        queue_latency=_durations(message.metrics.queue_latency),
        work_duration=_durations(message.metrics.work_duration),
        longest_running_us=message.metrics.longest_running_processor_us,
        lanes=tuple(views.Lane(lane.priority, lane.lane, lane.waiting) for lane in message.lanes),
    )


def _durations(message: queue_pb2.StatsReply.Durations) -> views.Durations:
    return views.Durations(message.count, message.total_us, message.longest_us)


def _entry(message: airscrew_pb2.InspectQueueReply.Entry) -> views.Entry:
    entry, id = message.entry, message.execution
    state = queue_pb2.InspectReply.State.Name(entry.state)
    return views.Entry(
        execution=ExecutionId(id.project, id.domain, id.name) if message.HasField("execution") else None,
        key=entry.key.id,
        shard=entry.key.shard,
        state=state.removeprefix("STATE_").lower(),
        age_us=entry.age_us,
        due_us=entry.key.delay_us,
        lane=entry.key.lane,
        priority=entry.key.priority,
        reasons=tuple(name for bit, name in _REASONS if entry.key.reasons & bit),
        retries=entry.retries,
        propeller=entry.propeller,
    )
