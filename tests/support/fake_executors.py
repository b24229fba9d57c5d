"""The part of a fake `admin` that is about executors and shards: answers what a test wants, keeps what it is asked."""

from __future__ import annotations

import grpc

from protos import airscrew_pb2, airscrew_pb2_grpc, propeller_pb2


class Executors:
    """What is answered, and what was asked."""

    def __init__(self) -> None:
        self.known: list[propeller_pb2.StatusReply.Executor] = []
        self.drained: list[propeller_pb2.DrainRequest] = []
        self.shards: list[airscrew_pb2.ListShardsReply.Shard] = []


class ExecutorCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Answers from `Executors`."""

    executors: Executors

    def ListExecutors(
        self, request: airscrew_pb2.ListExecutorsRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.ListExecutorsReply:
        return airscrew_pb2.ListExecutorsReply(executors=self.executors.known)

    def ListShards(
        self, request: airscrew_pb2.ListShardsRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.ListShardsReply:
        return airscrew_pb2.ListShardsReply(shards=self.executors.shards)

    def DrainExecutor(
        self, request: propeller_pb2.DrainRequest, context: grpc.ServicerContext
    ) -> propeller_pb2.DrainReply:
        if request.executor not in {each.executor for each in self.executors.known}:
            context.abort(grpc.StatusCode.NOT_FOUND, f"executor {request.executor!r} is not connected")
        self.executors.drained.append(request)
        return propeller_pb2.DrainReply()
