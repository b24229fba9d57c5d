"""The part of a fake `admin` that creates executions in bulk: keeps their inputs by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from flyteidl.admin import common_pb2, launch_plan_pb2
from flyteidl.core import interface_pb2, literals_pb2, types_pb2

from protos import airscrew_pb2, airscrew_pb2_grpc

_Reply = airscrew_pb2.SubmitExecutionsReply


class Bulk:
    """What has been created, and what goes wrong."""

    def __init__(self) -> None:
        self.created: dict[str, literals_pb2.LiteralMap] = {}
        self.requests: list[airscrew_pb2.SubmitExecutionsRequest] = []
        self.plans: dict[str, str] = {"sums": "v2"}
        """Active version by name."""
        self.breaks_after: list[int] = []
        """After how many requests each coming stream breaks off; when there are no more, none does."""

    def plan(self, name: str, version: str) -> launch_plan_pb2.LaunchPlan:
        """It asks for a whole number `x` and a text `who`, which may be left out."""
        found = launch_plan_pb2.LaunchPlan()
        found.id.name, found.id.version = name, version
        parameters = found.closure.expected_inputs.parameters
        integer, text = types_pb2.LiteralType(simple=types_pb2.INTEGER), types_pb2.LiteralType(simple=types_pb2.STRING)
        parameters["x"].CopyFrom(interface_pb2.Parameter(var=interface_pb2.Variable(type=integer), required=True))
        parameters["who"].var.type.CopyFrom(text)
        parameters["who"].default.scalar.primitive.string_value = "nobody"
        return found


class BulkCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Answers from `Bulk`."""

    bulk: Bulk

    def SubmitExecutions(
        self, requests: Iterator[airscrew_pb2.SubmitExecutionsRequest], context: grpc.ServicerContext
    ) -> Iterator[airscrew_pb2.SubmitExecutionsReply]:
        left = self.bulk.breaks_after.pop(0) if self.bulk.breaks_after else None
        for request in requests:
            self.bulk.requests.append(request)
            results = [self._create(request, place, item) for place, item in enumerate(request.items)]
            if left is not None:
                left -= 1
                if left < 0:  # what has been done is not told
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the server goes away")
            yield _Reply(results=results)

    def _create(self, request: airscrew_pb2.SubmitExecutionsRequest, place: int, item: Any) -> _Reply.Result:
        name = item.name or f"{request.batch}-{request.first + place}"
        if name in self.bulk.created:
            return _Reply.Result(name=name, outcome=_Reply.OUTCOME_EXISTS)
        if "x" not in item.inputs.literals:
            return _Reply.Result(name=name, outcome=_Reply.OUTCOME_REFUSED, reason="inputs.x: is missing", code=3)
        self.bulk.created[name] = item.inputs
        return _Reply.Result(name=name, outcome=_Reply.OUTCOME_CREATED)


class PlanCalls:
    """The part of Flyte's service that knows launch plans."""

    bulk: Bulk

    def GetActiveLaunchPlan(self, request: Any, context: grpc.ServicerContext) -> launch_plan_pb2.LaunchPlan:
        if request.id.name not in self.bulk.plans:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no active version of launch plan {request.id.name}")
        return self.bulk.plan(request.id.name, self.bulk.plans[request.id.name])

    def ListLaunchPlans(self, request: Any, context: grpc.ServicerContext) -> launch_plan_pb2.LaunchPlanList:
        found = launch_plan_pb2.LaunchPlanList()
        if request.id.name == "quiet":
            found.launch_plans.append(self.bulk.plan("quiet", "v7"))
        return found

    def GetLaunchPlan(
        self, request: common_pb2.ObjectGetRequest, context: grpc.ServicerContext
    ) -> launch_plan_pb2.LaunchPlan:
        return self.bulk.plan(request.id.name, request.id.version)
