"""The part of `airscrew.v1.Airscrew` that is about garbage collection: leaders do it, and are asked."""

from __future__ import annotations

from typing import Any

from protos import airscrew_pb2, propeller_pb2
from services.admin.api.leaders import LeaderCalls


class GarbageCalls(LeaderCalls):
    """How it stands, and what it would do."""

    async def CollectGarbage(
        self, request: propeller_pb2.CollectionRequest, context: Any
    ) -> airscrew_pb2.CollectGarbageReply:
        shards = [
            await self._propellers.collection(leader.address, leader.shard, request.begin)
            async for leader in self._leaders()
        ]
        return airscrew_pb2.CollectGarbageReply(shards=shards)

    async def PreviewGarbage(
        self, request: propeller_pb2.PreviewCollectionRequest, context: Any
    ) -> propeller_pb2.PreviewCollectionReply:
        days = request.days if request.HasField("days") else None
        known: dict[str, propeller_pb2.PreviewCollectionReply.Project] = {}
        async for leader in self._leaders():
            for project in await self._propellers.preview_collection(leader.address, leader.shard, days):
                _add(known, project)
        return propeller_pb2.PreviewCollectionReply(projects=known.values())


def _add(
    known: dict[str, propeller_pb2.PreviewCollectionReply.Project], told: propeller_pb2.PreviewCollectionReply.Project
) -> None:
    """Adds what the leader of one shard tells of a project to what those of others have told."""
    project = known.setdefault(told.project, told)
    if project is told:
        return
    for count in ("heads", "executions", "live", "cached", "held", "measured", "blobs", "bytes"):
        setattr(project, count, getattr(project, count) + getattr(told, count))
    project.more |= told.more
