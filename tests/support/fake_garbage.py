"""The part of a fake `admin` that is about garbage collection: answers what a test wants, keeps what it is asked."""

from __future__ import annotations

import grpc

from protos import airscrew_pb2, airscrew_pb2_grpc, propeller_pb2


class Garbage:
    """What is answered, and what was asked. A pass that is asked for has ended at the next look but one."""

    def __init__(self) -> None:
        self.shards: list[propeller_pb2.CollectionReply] = []
        self.projects: list[propeller_pb2.PreviewCollectionReply.Project] = []
        self.previews: list[propeller_pb2.PreviewCollectionRequest] = []
        self.begun = 0
        self._looks = 0

    def look(self, begin: bool) -> list[propeller_pb2.CollectionReply]:
        answer = [propeller_pb2.CollectionReply.FromString(each.SerializeToString()) for each in self.shards]
        self._looks += 1
        if begin:
            self.begun += 1
            self._looks = 0
        for each in answer:
            each.passes = self.begun if self._looks > 1 else max(0, self.begun - 1)
            if self._looks < 2 and self.begun:
                each.now.began_us = 1
        return answer


class GarbageCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Answers from `Garbage`."""

    garbage: Garbage

    def CollectGarbage(
        self, request: propeller_pb2.CollectionRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.CollectGarbageReply:
        return airscrew_pb2.CollectGarbageReply(shards=self.garbage.look(request.begin))

    def PreviewGarbage(
        self, request: propeller_pb2.PreviewCollectionRequest, context: grpc.ServicerContext
    ) -> propeller_pb2.PreviewCollectionReply:
        self.garbage.previews.append(request)
        return propeller_pb2.PreviewCollectionReply(projects=self.garbage.projects)
