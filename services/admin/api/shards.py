"""The part of `airscrew.v1.Airscrew` that is about shards: who leads which, by the store, and how that leader is."""

from __future__ import annotations

import asyncio
from typing import Any

from libs.clients.propeller import Propellers
from libs.store.stories import Stories
from protos import airscrew_pb2, airscrew_pb2_grpc


class ShardCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Listing shards."""

    _propellers: Propellers
    _stories: Stories
    _shards: int

    async def ListShards(self, request: airscrew_pb2.ListShardsRequest, context: Any) -> airscrew_pb2.ListShardsReply:
        found = await asyncio.gather(*map(self._shard, range(self._shards)))
        return airscrew_pb2.ListShardsReply(shards=found)

    async def _shard(self, shard: int) -> airscrew_pb2.ListShardsReply.Shard:
        leader = await self._stories.leader(shard)
        if leader is None:
            return airscrew_pb2.ListShardsReply.Shard(shard=shard)
        told = airscrew_pb2.ListShardsReply.Shard(
            shard=shard,
            holder=leader.holder,
            address=leader.address,
            epoch=leader.epoch,
            claimed_at_us=leader.claimed_at_us,
        )
        status = await self._propellers.look(leader.address, shard)
        if status is not None and status.leading:
            told.leading = True
            told.executions = status.executions
            told.cold = status.cold
            told.pending_attempts = status.pending_attempts
            told.executors = sum(executor.connected for executor in status.executors)
        return told
