"""Executors as the commands see them, through `admin`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc

from libs.rpc import errors
from libs.wire import codec
from libs.workflow.quantities import Slots
from protos import airscrew_pb2, airscrew_pb2_grpc, propeller_pb2

_DEADLINE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Executor:
    """What its leader knows of an executor."""

    name: str
    state: str
    """`ready`, `draining`, `drained`, `in trouble` or `not connected`."""
    trouble: str
    attempts: int
    used: Slots
    capacity: Slots
    silent_seconds: float
    places: int = 0
    """How many attempts it runs at most, where that is all that bounds them: as pods of a cluster. 0: its capacity."""

    def as_json(self) -> dict[str, Any]:
        return {
            "executor": self.name,
            "state": self.state,
            "trouble": self.trouble,
            "attempts": self.attempts,
            "used": _as_json(self.used),
            "capacity": _as_json(self.capacity),
            "silent_seconds": self.silent_seconds,
            "places": self.places,
        }


class Executors:
    """The calls that are about executors."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._stub: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(connection)

    async def list(self) -> Sequence[Executor]:
        """By name."""
        with errors.of_rpc():
            reply = await self._stub.ListExecutors(airscrew_pb2.ListExecutorsRequest(), timeout=_DEADLINE_SECONDS)
        return sorted(map(_executor, reply.executors), key=lambda executor: executor.name)

    async def drain(self, name: str, seconds: float) -> None:
        """Raises NotFound when it is not connected."""
        request = propeller_pb2.DrainRequest(executor=name, grace_us=round(seconds * 1e6))
        with errors.of_rpc():
            await self._stub.DrainExecutor(request, timeout=_DEADLINE_SECONDS)


def _executor(message: propeller_pb2.StatusReply.Executor) -> Executor:
    return Executor(
        name=message.executor,
        state=_state(message),
        trouble=message.trouble,
        attempts=message.attempts,
        used=codec.slots(message.used),
        capacity=codec.slots(message.capacity),
        silent_seconds=message.silent_us / 1e6,
        places=message.places,
    )


def _state(message: propeller_pb2.StatusReply.Executor) -> str:
    if not message.connected:
        return "not connected"
    if message.draining:
        return "draining" if message.attempts else "drained"
    return "in trouble" if message.trouble else "ready"


def _as_json(slots: Slots) -> dict[str, int]:
    return {"cpu_millis": slots.cpu_millis, "memory_bytes": slots.memory_bytes, "gpus": slots.gpus}
