"""The part of a fake `admin` that breaks things: tells what a test wants, or refuses."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from protos import airscrew_pb2, airscrew_pb2_grpc


class Chaos:
    """What is told, and what was asked."""

    def __init__(self) -> None:
        self.steps: list[airscrew_pb2.KillLeaderReply] = []
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        """After the steps."""
        self.asked: list[airscrew_pb2.KillLeaderRequest] = []


class ChaosCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Answers from `Chaos`."""

    chaos: Chaos

    def KillLeader(
        self, request: airscrew_pb2.KillLeaderRequest, context: grpc.ServicerContext
    ) -> Iterator[airscrew_pb2.KillLeaderReply]:
        self.chaos.asked.append(request)
        yield from self.chaos.steps
        if self.chaos.refusal is not None:
            context.abort(*self.chaos.refusal)
