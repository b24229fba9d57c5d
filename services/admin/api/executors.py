"""The part of `airscrew.v1.Airscrew` that is about executors: their leaders are asked, for nobody else knows them."""

from __future__ import annotations

from typing import Any

from libs.workflow.errors import NotFound
from protos import airscrew_pb2, propeller_pb2
from services.admin import identifiers
from services.admin.api.leaders import LeaderCalls


class ExecutorCalls(LeaderCalls):
    """Listing executors, and draining one."""

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


def _add(known: dict[str, propeller_pb2.StatusReply.Executor], told: propeller_pb2.StatusReply.Executor) -> None:
    """Adds what the leader of one shard tells of an executor to what those of others have told."""
    executor = known.setdefault(told.executor, told)
    if executor is told:
        return
    executor.attempts += told.attempts
    executor.places += told.places
    executor.used.cpu_millis += told.used.cpu_millis
    executor.used.memory_bytes += told.used.memory_bytes
    executor.used.gpus += told.used.gpus
    executor.silent_us = min(executor.silent_us, told.silent_us)
    executor.draining |= told.draining
    executor.trouble = executor.trouble or told.trouble
    executor.connected |= told.connected
