"""One trace per execution, from the submission to the task process, without a gap."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from flyteidl.core import identifier_pb2 as identifier
from flytekit.remote import FlyteWorkflowExecution

from tests.support import executions, otlp, smalltasks
from tests.support.example_cases import ALL, Example
from tests.support.markers import Markers
from tests.support.system import System

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def traced(registrar: smalltasks.Registrar, markers: Markers) -> identifier.Identifier:
    """A launch plan of four tasks: two lanes of two."""
    task = registrar.marking_task("traced", markers.path, seconds=0.1)
    return registrar.lanes("traced", task, lanes=2, length=2)


@pytest.fixture(scope="module")
def finished(registrar: smalltasks.Registrar, traced: identifier.Identifier) -> identifier.WorkflowExecutionIdentifier:
    """An execution of it that has succeeded."""
    launched = registrar.launch(traced)
    executions.succeed(registrar, launched)
    return launched


@pytest.fixture(scope="module")
def trace(receiver: otlp.Receiver, finished: identifier.WorkflowExecutionIdentifier) -> otlp.Trace:
    """Everything that was received of its trace."""
    return _trace_of(receiver, finished)


def test_an_execution_is_exactly_one_trace_without_orphans(
    trace: otlp.Trace, receiver: otlp.Receiver, finished: identifier.WorkflowExecutionIdentifier
) -> None:
    assert len(receiver.about("flyte.execution.id", executions.text(finished))) == 1
    (root,) = trace.roots
    assert root.name == "execution"
    assert root.attributes["flyte.execution.id"] == executions.text(finished)
    assert trace.orphans() == []
    assert len({span.span_id for span in trace.spans}) == len(trace.spans), "a span was sent twice"


def test_the_trace_goes_from_admin_over_the_propeller_to_the_executor(trace: otlp.Trace) -> None:
    assert {"airscrew-admin", "airscrew-propeller", "airscrew-executor"} <= trace.services
    (submit,) = trace.named("submit")
    assert submit.service == "airscrew-admin"
    assert submit.parent_id == trace.roots[0].span_id
    for name in ("queue", "turn", "commit", "wait for slot"):
        assert trace.named(name), f"no span {name} in {sorted(span.name for span in trace.spans)}"
    assert {span.service for span in trace.named("process")} == {"airscrew-executor"}


def test_every_attempt_has_its_process_below_its_node_below_the_execution(trace: otlp.Trace) -> None:
    processes = trace.named("process")
    assert {span.attributes["flyte.node.id"] for span in processes} == {"a0", "a1", "b0", "b1"}
    for process in processes:
        line = [span.name for span in trace.ancestors(process)]
        node = f"node {process.attributes['flyte.node.id']}"
        assert line[-3:] == ["attempt", node, "execution"]


def test_long_spans_have_the_true_times_of_what_they_enclose(trace: otlp.Trace) -> None:
    (root,) = trace.roots
    nodes = [span for span in trace.spans if span.name.startswith("node ")]
    assert {node.name for node in nodes} >= {"node a0", "node a1", "node b0", "node b1"}
    for node in nodes:
        # A tenth of a second: executor and propeller each have a clock of their own, and times are rounded.
        assert node.start_ns >= root.start_ns - 1e8
        assert node.end_ns <= root.end_ns + 1e8
    for process in trace.named("process"):
        assert process.end_ns - process.start_ns >= 1e8  # the task sleeps that long


def test_a_task_finds_the_trace_in_its_environment_and_continues_it(
    trace: otlp.Trace, markers: Markers, finished: identifier.WorkflowExecutionIdentifier
) -> None:
    starts = markers.starts(finished.name)
    assert len(starts) == 4
    parents = set()
    for start in starts:
        version, trace_id, parent_id, flags = start.traceparent.split("-")
        parent = trace.span(parent_id)
        assert (version, trace_id, flags) == ("00", trace.roots[0].trace_id, "01")
        assert parent is not None
        assert parent.name == "process"
        assert parent.attributes["flyte.node.id"] == start.node
        parents.add(parent_id)
    assert len(parents) == 4


def test_a_trace_that_the_client_began_is_continued(
    receiver: otlp.Receiver, registrar: smalltasks.Registrar, traced: identifier.Identifier
) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    launched = registrar.launch(traced, metadata=[("traceparent", f"00-{trace_id}-{span_id}-01")])
    executions.succeed(registrar, launched)

    trace = receiver.trace(trace_id, until=lambda trace: trace.named("execution"))
    trace = receiver.settled(trace_id)

    assert receiver.about("flyte.execution.id", executions.text(launched)) == {trace_id}
    # A root of its own in the client's trace: whether the client's span is ever exported is not ours to know.
    assert [span.name for span in trace.roots] == ["execution"]
    assert trace.orphans() == []


def test_a_trace_that_the_client_does_not_sample_is_not_sent(
    receiver: otlp.Receiver, registrar: smalltasks.Registrar, markers: Markers, traced: identifier.Identifier
) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    launched = registrar.launch(traced, metadata=[("traceparent", f"00-{trace_id}-{span_id}-00")])
    executions.succeed(registrar, launched)
    time.sleep(2)  # longer than the exporters' delay

    assert receiver.about("flyte.execution.id", executions.text(launched)) == set()
    assert {start.traceparent.split("-")[3] for start in markers.starts(launched.name)} == {"00"}


def test_the_trace_of_an_aborted_execution_is_whole_too(
    receiver: otlp.Receiver, registrar: smalltasks.Registrar, markers: Markers
) -> None:
    task = registrar.marking_task("traced-and-aborted", markers.path, seconds=300)
    launched = registrar.launch(registrar.lanes("traced-and-aborted", task, lanes=2))
    markers.wait(lambda: len(markers.starts(launched.name)) == 2)
    registrar.abort(launched, "enough")
    assert executions.end(registrar, launched).closure.phase == executions.ABORTED

    trace = _trace_of(receiver, launched)
    assert [root.name for root in trace.roots] == ["execution"]
    assert trace.orphans() == []
    assert {span.attributes["flyte.node.id"] for span in trace.named("process")} == {"a0", "a1"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("entity", ["subworkflows", "retried", "failing"])
def test_sub_workflows_retries_and_failures_leave_no_gap(
    receiver: otlp.Receiver, finished_example: Callable[[Example], FlyteWorkflowExecution], entity: str
) -> None:
    example = next(example for example in ALL if example.entity == entity)
    trace = _trace_of(receiver, finished_example(example).id)
    (root,) = trace.roots
    assert root.name == "execution"
    assert root.failed == (entity == "failing")
    assert trace.orphans() == []


def _trace_of(receiver: otlp.Receiver, launched: identifier.WorkflowExecutionIdentifier) -> otlp.Trace:
    """The one trace in which an execution is named, once nothing more arrives."""
    deadline = time.monotonic() + 20
    while not (found := receiver.about("flyte.execution.id", executions.text(launched))):
        assert time.monotonic() < deadline, "no span of the execution arrived"
        time.sleep(0.1)
    (trace_id,) = found
    return receiver.settled(trace_id)


def test_the_trace_is_drawn_without_a_collector_and_has_the_id_of_the_one_that_was_sent(
    system: System, trace: otlp.Trace, finished: identifier.WorkflowExecutionIdentifier
) -> None:
    command = [sys.executable, "-m", "services.cli", "trace", finished.name, "--endpoint", system.endpoint]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    first, *lines = ran.stdout.splitlines()
    assert first.startswith(f"trace {trace.roots[0].trace_id} ")
    parts = [line.split()[:2] for line in lines]
    assert parts[0] == ["execution", finished.name]
    nodes = parts[1::2]  # by when they began, which is not ours to say of two lanes
    assert sorted(nodes) == [["node", node] for node in ("a0", "a1", "b0", "b1")]
    assert parts[2::2] == [["attempt", "0"]] * 4
    assert all("█" in line for line in lines), "all of it has run"
