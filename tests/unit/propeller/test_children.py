"""A parent hears of the end of its child whichever way that came about, and a child of its parent's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flyteidl.core import execution_pb2

from libs.telemetry.traces import TraceContext
from libs.wire.session import ReportPhase
from libs.workflow.errors import Unavailable
from libs.workflow.phases import AttemptPhase, Desired, ExecutionPhase, NodePhase
from libs.workflow.state import Changes
from tests.support.flytetypes import INTEGER
from tests.support.templates import node, plan_node, workflow
from tests.support.terms import leading, report_of
from tests.support.waiting import until

X, RESULT = {"x": INTEGER}, {"o": INTEGER}
CHILD = workflow(node("n0", "add", x="x"), name="child", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
PARENT = workflow(plan_node("n0", "child", x="x"), name="parent", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
BUSY_PARENT = workflow(
    plan_node("n0", "child", x="x"),
    node("n1", "add", x="x"),
    name="busy",
    inputs=X,
    outputs=RESULT,
    returns={"o": "n0.o"},
)


async def test_a_child_that_is_set_aside_fails_the_node_that_waits_for_it(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.launch(CHILD, PARENT, key=1, x=1)
        child = await it.child_of(1, "n0")
        assignment = await executor.assigned_of(child, "n0")
        execution = it.term.library.get(child)
        assert execution is not None
        execution.live["n0"].state.phase = NodePhase.SKIPPED  # as no sequence of events can make it
        executor.report(assignment.id, ReportPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.FAILED)
        error = execution_pb2.ExecutionError.FromString(it.store.executions[1].error or b"")
        assert error.code == "Quarantined"


async def test_a_parent_that_is_set_aside_has_its_children_aborted_at_once(tmp_path: Path) -> None:
    async with leading(tmp_path, sweep_seconds=600.0) as it:
        executor = it.connect("e1")
        it.launch(CHILD, BUSY_PARENT, key=1, x=1)
        child = await it.child_of(1, "n0")
        assignment = await executor.assigned_of(child, "n0")
        own = await executor.assigned_of(1, "n1")
        execution = it.term.library.get(1)
        assert execution is not None
        execution.live["n1"].state.phase = NodePhase.SKIPPED  # as no sequence of events can make it
        executor.report(own.id, ReportPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.FAILED)
        await executor.stopped("n0")
        executor.report(assignment.id, ReportPhase.ABORTED, 2)
        await it.phase(child, ExecutionPhase.ABORTED)


async def test_the_row_of_a_child_names_the_span_of_its_node(tmp_path: Path) -> None:
    root = TraceContext.mint(bytes(range(16)), sampled=True)
    async with leading(tmp_path) as it:
        it.launch(CHILD, PARENT, key=1, x=1, traceparent=root.traceparent())
        child = it.store.executions[await it.child_of(1, "n0")]
        assert child.traceparent == root.child("node", "n0").traceparent()


async def test_an_abort_is_one_commit_for_parent_and_child_and_stops_what_runs(tmp_path: Path) -> None:
    async with leading(tmp_path, sweep_seconds=600.0) as it:
        executor = it.connect("e1")
        it.launch(CHILD, PARENT, key=1, x=1)
        child = await it.child_of(1, "n0")
        assignment = await executor.assigned_of(child, "n0")
        wanted: list[Desired] = []
        it.writer.after_commit = lambda batch: wanted.append(it.store.executions[child].intent.desired)
        it.store.request_abort(1, "enough")
        await it.term.sources.attend_what_is_due()
        await executor.stopped("n0")
        assert wanted[0] is Desired.ABORT
        executor.report(assignment.id, ReportPhase.ABORTED, 2)
        await it.phase(child, ExecutionPhase.ABORTED)
        await it.phase(1, ExecutionPhase.ABORTED)


async def test_the_end_of_a_child_that_could_not_be_told_is_found_by_the_next_leader(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.launch(CHILD, PARENT, key=1, x=1)
        child = await it.child_of(1, "n0")
        assignment = await executor.assigned_of(child, "n0")

        def end(batch: Sequence[Changes]) -> None:
            """The child's end is stored, and nothing that the parent has to commit after it."""
            if any(change.execution.key == 1 for change in batch):
                raise Unavailable("the leader is about to die")

        it.writer.before_commit = end
        executor.report(assignment.id, ReportPhase.SUCCEEDED)
        await it.phase(child, ExecutionPhase.SUCCEEDED)
        store = it.store
    assert store.executions[1].phase is ExecutionPhase.RUNNING
    async with leading(tmp_path, store) as it:
        await it.phase(1, ExecutionPhase.SUCCEEDED)
        assert it.store.attempts[child]["n0", 0].phase is AttemptPhase.SUCCEEDED
        assert it.store.nodes[1]["n0"].phase is NodePhase.SUCCEEDED


async def test_a_child_that_still_runs_ends_its_parent_under_the_next_leader(tmp_path: Path) -> None:
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.launch(CHILD, PARENT, key=1, x=1)
        child = await it.child_of(1, "n0")
        id = (await executor.assigned_of(child, "n0")).id
        executor.report(id, ReportPhase.RUNNING)
        await until(lambda: it.store.attempts[child]["n0", 0].phase is AttemptPhase.RUNNING)
        store = it.store
    async with leading(tmp_path, store, sweep_seconds=600.0) as it:
        executor = it.connect("e1", snapshot=(report_of(id, ReportPhase.RUNNING),))
        executor.report(id, ReportPhase.SUCCEEDED, 2)
        await it.phase(child, ExecutionPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.SUCCEEDED)
