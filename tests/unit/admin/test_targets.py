"""What can be launched is read once, whoever asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import compiler_pb2, execution_pb2, identifier_pb2

from libs.store.records import LaunchPlanRecord, WorkflowRecord
from libs.workflow.errors import InvalidArgument, Unavailable
from libs.workflow.identity import EntityId
from services.admin.targets import Targets
from tests.support import stored

PLAN = stored.launch_plan()
REFERENCE = identifier_pb2.Identifier(resource_type=identifier_pb2.LAUNCH_PLAN, **PLAN.id._asdict())


class Registration:
    """Counts what is read, and fails on demand."""

    def __init__(self) -> None:
        self.reads = 0
        self.spec = launch_plan_pb2.LaunchPlanSpec()
        self.away = False
        self.released = asyncio.Event()

    async def launch_plan(self, id: EntityId) -> LaunchPlanRecord:
        self.reads += 1
        await self.released.wait()
        if self.away:
            raise Unavailable("away")
        return replace(PLAN, spec=self.spec.SerializeToString(), expected_inputs=b"", expected_outputs=b"")

    async def workflow(self, id: EntityId) -> WorkflowRecord:
        closure = compiler_pb2.CompiledWorkflowClosure()
        closure.primary.template.metadata.quality_of_service.tier = execution_pb2.QualityOfService.HIGH
        return stored.compiled(id, closure.SerializeToString())


async def test_a_launch_plan_is_as_urgent_as_its_workflow_unless_it_says_otherwise() -> None:
    registration = Registration()
    registration.released.set()
    plan = (await Targets(registration).find(REFERENCE)).plan  # type: ignore[arg-type]
    assert plan is not None
    assert plan.quality_of_service.tier == execution_pb2.QualityOfService.HIGH
    registration.spec.quality_of_service.tier = execution_pb2.QualityOfService.LOW
    plan = (await Targets(registration).find(REFERENCE)).plan  # type: ignore[arg-type]
    assert plan is not None
    assert plan.quality_of_service.tier == execution_pb2.QualityOfService.LOW


async def test_a_burst_of_launches_reads_its_launch_plan_once() -> None:
    registration = Registration()
    targets = Targets(registration)  # type: ignore[arg-type]
    asking = [asyncio.create_task(targets.find(REFERENCE)) for _ in range(100)]
    await asyncio.sleep(0)
    registration.released.set()
    found = await asyncio.gather(*asking)
    assert {target.workflow for target in found} == {PLAN.workflow}
    assert (await targets.find(REFERENCE)).id == PLAN.id
    assert registration.reads == 1


async def test_a_failure_is_shared_and_not_remembered() -> None:
    registration = Registration()
    registration.released.set()
    registration.away = True
    targets = Targets(registration)  # type: ignore[arg-type]
    failed = await asyncio.gather(*(targets.find(REFERENCE) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(error, Unavailable) for error in failed)
    assert registration.reads == 1
    registration.away = False
    assert (await targets.find(REFERENCE)).id == PLAN.id


async def test_a_caller_that_leaves_does_not_take_the_answer_from_the_others() -> None:
    registration = Registration()
    targets = Targets(registration)  # type: ignore[arg-type]
    first, second = (asyncio.create_task(targets.find(REFERENCE)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    registration.released.set()
    assert (await second).id == PLAN.id
    assert first.cancelled() or first.cancelling()


async def test_only_launch_plans_and_tasks_can_be_launched() -> None:
    targets = Targets(Registration())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"spec\.launch_plan\.resource_type: is WORKFLOW"):
        await targets.find(identifier_pb2.Identifier(resource_type=identifier_pb2.WORKFLOW))
