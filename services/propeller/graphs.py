"""From what is registered, or was compiled for one node, to graphs.

Those of registered workflows are built once per version and shared by their executions. Those of dynamic nodes belong
to one execution, and are not kept here. Thousands of nodes take seconds, in which everybody else would wait; so the
work is done in a thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import compiler_pb2, interface_pb2
from google.protobuf.message import DecodeError

from libs.blob import BlobStore
from libs.store.records import LaunchPlanRecord
from libs.workflow.compiler.requirements import requirements
from libs.workflow.errors import Internal
from libs.workflow.graph import Graph, LaunchPlanTarget, build
from libs.workflow.identity import EntityId
from libs.workflow.quantities import Slots
from services.propeller.store import LeaderStore

GRAPHS_KEPT = 1000
"""Graphs of versions that are not in use are forgotten beyond this number."""

READ_LIMIT_BYTES = 512 * 2**20
"""Largest specification or compiled closure of a dynamic node that is read."""


class Graphs:
    """Builds graphs. Not thread-safe: belongs to the event loop."""

    def __init__(self, store: LeaderStore, blob: BlobStore, default_slots: Slots) -> None:
        self._store = store
        self._blob = blob
        self._default_slots = default_slots
        self._of_workflows: OrderedDict[EntityId, asyncio.Future[Graph]] = OrderedDict()

    def known(self, workflow: EntityId) -> Graph | None:
        """The graph of a registered workflow if it has been built."""
        known = self._of_workflows.get(workflow)
        if known is None or not known.done():
            return None
        self._of_workflows.move_to_end(workflow)
        return known.result()

    async def of_workflow(self, workflow: EntityId) -> Graph:
        """The graph of a registered workflow; built at most once at a time, and a failure is not remembered.

        Raises Unavailable, NotFound when something that it needs is not registered, or Internal when it makes no sense.
        """
        known = self._of_workflows.get(workflow)
        if known is None:
            known = self._of_workflows[workflow] = asyncio.get_running_loop().create_future()
            try:
                known.set_result(await self._of(await self._store.program(workflow), f"workflow {workflow}"))
            except BaseException as error:
                if self._of_workflows.get(workflow) is known:  # others may have taken its place meanwhile
                    del self._of_workflows[workflow]
                if isinstance(error, Exception):
                    known.set_exception(error)
                    known.exception()  # whoever waits gets it too; nobody has to
                else:
                    known.cancel()
                raise
        if self._of_workflows.get(workflow) is known:
            self._of_workflows.move_to_end(workflow)
        while len(self._of_workflows) > GRAPHS_KEPT:
            self._of_workflows.popitem(last=False)
        return known.result() if known.done() else await asyncio.shield(known)

    async def stored(self, uri: str) -> Graph:
        """The graph of a compiled closure in the blob store. Raises as `of_workflow`, and what the blob store does."""
        return await self._of(await self._blob.read(uri, READ_LIMIT_BYTES), uri)

    async def build(
        self, closure: compiler_pb2.CompiledWorkflowClosure, launch_plans: Mapping[EntityId, LaunchPlanRecord]
    ) -> Graph:
        """The graph of a closure whose launch plans are at hand."""
        targets = {id: _target(record) for id, record in launch_plans.items()}
        return await asyncio.to_thread(build, closure, self._default_slots, targets)

    async def _of(self, serialized: bytes, what: str) -> Graph:
        closure, needed = await asyncio.to_thread(_parsed, serialized, what)
        launch_plans = await self._store.launch_plans(needed) if needed else {}
        return await self.build(closure, launch_plans)


def _parsed(serialized: bytes, what: str) -> tuple[compiler_pb2.CompiledWorkflowClosure, Sequence[EntityId]]:
    """A compiled closure, and the launch plans that its nodes launch."""
    try:
        closure = compiler_pb2.CompiledWorkflowClosure.FromString(serialized)
    except DecodeError as error:
        raise Internal(f"{what} is no compiled workflow: {error}") from None
    templates = [workflow.template for workflow in closure.sub_workflows]
    return closure, requirements(closure.primary.template, templates).launch_plans


def _target(record: LaunchPlanRecord) -> LaunchPlanTarget:
    outputs = interface_pb2.VariableMap.FromString(record.expected_outputs)
    return LaunchPlanTarget(
        id=record.id,
        workflow=record.workflow,
        spec=launch_plan_pb2.LaunchPlanSpec.FromString(record.spec),
        expected_inputs=interface_pb2.ParameterMap.FromString(record.expected_inputs),
        outputs=tuple(sorted(outputs.variables)),
    )
