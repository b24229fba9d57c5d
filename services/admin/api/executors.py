"""The part of `airscrew.v1.Airscrew` that is about executors: their leaders are asked, for nobody else knows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from libs.clients.propeller import Propellers
from libs.store.records import LeaderRow
from libs.store.stories import Stories
from libs.workflow.errors import NotFound, Unavailable
from protos import airscrew_pb2, airscrew_pb2_grpc, propeller_pb2
from services.admin import identifiers


class ExecutorCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Listing executors, and draining one."""

    _propellers: Propellers
    _stories: Stories
    _shards: int

    async def ListExecutors(
        self, request: airscrew_pb2.ListExecutorsRequest, context: Any
    ) -> airscrew_pb2.ListExecutorsReply:
        known: dict[str, propeller_pb2.StatusReply.Executor] = {}
        async for leader in self._leaders():
            for executor in await self._propellers.executors(leader.address, leader.shard):
                _add(known, executor)
        return airscrew_pb2.ListExecutorsReply(executors=known.values())

    async def DrainExecutor(self, request: propeller_pb2.DrainRequest, context: Any) -> propeller_pb2.DrainReply:
        name = identifiers.required(request.executor, "executor")
        found = False
        async for leader in self._leaders():
            try:
                await self._propellers.drain(leader.address, name, request.grace_us)
                found = True
            except NotFound:
                continue  # it may have a session with the leader of another shard
        if not found:
            raise NotFound(f"executor {name!r} is not connected")
        return propeller_pb2.DrainReply()

    async def _leaders(self) -> AsyncIterator[LeaderRow]:
        """Who the leaders are, as far as the store knows. Raises Unavailable for a shard that nobody has ever led."""
        for shard in range(self._shards):
            leader = await self._stories.leader(shard)
            if leader is None:
                raise Unavailable(f"nobody leads shard {shard}")
            yield leader


def _add(known: dict[str, propeller_pb2.StatusReply.Executor], told: propeller_pb2.StatusReply.Executor) -> None:
    """Adds what the leader of one shard tells of an executor to what those of others have told."""
    executor = known.setdefault(told.executor, told)
    if executor is told:
        return
    executor.attempts += told.attempts
    executor.used.cpu_millis += told.used.cpu_millis
    executor.used.memory_bytes += told.used.memory_bytes
    executor.used.gpus += told.used.gpus
    executor.silent_us = min(executor.silent_us, told.silent_us)
    executor.draining |= told.draining
    executor.trouble = executor.trouble or told.trouble
    executor.connected |= told.connected
