"""Garbage collection as the commands see it, through `admin`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import grpc

from libs.rpc import errors
from protos import airscrew_pb2, airscrew_pb2_grpc, propeller_pb2

_DEADLINE_SECONDS: Final = 30.0
_PREVIEW_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass has done, or has done so far."""

    began_us: int
    ended_us: int
    """0 while it is under way."""
    marked: int
    kept: int
    executions: int
    rows: int
    entries: int
    blobs: int
    bytes: int
    trouble: str

    @property
    def seconds(self) -> float:
        return max(0, self.ended_us - self.began_us) / 1e6


@dataclass(frozen=True, slots=True)
class Shard:
    """How things stand with one leader."""

    shard: int
    retention_days: Mapping[str, str]
    retention_executions: Mapping[str, str]
    cache_retention_days: Mapping[str, str]
    every_seconds: float
    delay_seconds: float
    marked: int
    condemned: int
    passes: int
    now: Pass | None
    last: Pass | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Project:
    """What would go of a project, and what stays of all that is old enough. Fields as in `PreviewCollectionReply`."""

    project: str
    heads: int
    executions: int
    live: int
    cached: int
    held: int
    more: bool
    measured: int
    blobs: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Garbage:
    """The calls that are about garbage collection."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._stub: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(connection)

    async def status(self, begin: bool = False) -> Sequence[Shard]:
        """By shard. With `begin` a pass begins at once."""
        request = propeller_pb2.CollectionRequest(begin=begin)
        with errors.of_rpc():
            reply: airscrew_pb2.CollectGarbageReply = await self._stub.CollectGarbage(
                request, timeout=_DEADLINE_SECONDS
            )
        return [_shard(each) for each in reply.shards]

    async def preview(self, days: float | None) -> Sequence[Project]:
        """By project. `days` instead of what is configured."""
        request = propeller_pb2.PreviewCollectionRequest(days=days)
        with errors.of_rpc():
            reply = await self._stub.PreviewGarbage(request, timeout=_PREVIEW_SECONDS)
        return sorted(map(_project, reply.projects), key=lambda project: project.project)


def _shard(message: propeller_pb2.CollectionReply) -> Shard:
    return Shard(
        shard=message.shard,
        retention_days=dict(message.retention_days),
        retention_executions=dict(message.retention_executions),
        cache_retention_days=dict(message.cache_retention_days),
        every_seconds=message.every_seconds,
        delay_seconds=message.delay_seconds,
        marked=message.marked,
        condemned=message.condemned,
        passes=message.passes,
        now=_pass(message.now) if message.HasField("now") else None,
        last=_pass(message.last) if message.HasField("last") else None,
    )


def _pass(message: propeller_pb2.CollectionReply.Pass) -> Pass:
    return Pass(
        began_us=message.began_us,
        ended_us=message.ended_us,
        marked=message.marked,
        kept=message.kept,
        executions=message.executions,
        rows=message.rows,
        entries=message.entries,
        blobs=message.blobs,
        bytes=message.bytes,
        trouble=message.trouble,
    )


def _project(message: propeller_pb2.PreviewCollectionReply.Project) -> Project:
    return Project(
        project=message.project,
        heads=message.heads,
        executions=message.executions,
        live=message.live,
        cached=message.cached,
        held=message.held,
        more=message.more,
        measured=message.measured,
        blobs=message.blobs,
        bytes=message.bytes,
    )
