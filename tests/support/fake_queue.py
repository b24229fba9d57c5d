"""The part of a fake `admin` that is about the queue: answers what a test wants, keeps what it is asked."""

from __future__ import annotations

import grpc

from protos import airscrew_pb2, airscrew_pb2_grpc, queue_pb2


class Queue:
    """What is answered, and what was asked."""

    def __init__(self) -> None:
        self.stats = queue_pb2.StatsReply()
        self.entries: list[airscrew_pb2.InspectQueueReply.Entry] = []
        self.asked: list[queue_pb2.InspectRequest | queue_pb2.PauseRequest | queue_pb2.ResumeRequest] = []


class QueueCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Answers from `Queue`."""

    queue: Queue

    def GetQueue(self, request: queue_pb2.StatsRequest, context: grpc.ServicerContext) -> queue_pb2.StatsReply:
        return self.queue.stats

    def InspectQueue(
        self, request: queue_pb2.InspectRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.InspectQueueReply:
        self.queue.asked.append(request)
        return airscrew_pb2.InspectQueueReply(entries=self.queue.entries)

    def PauseQueue(self, request: queue_pb2.PauseRequest, context: grpc.ServicerContext) -> queue_pb2.PauseReply:
        self.queue.asked.append(request)
        return queue_pb2.PauseReply()

    def ResumeQueue(self, request: queue_pb2.ResumeRequest, context: grpc.ServicerContext) -> queue_pb2.ResumeReply:
        self.queue.asked.append(request)
        return queue_pb2.ResumeReply()
