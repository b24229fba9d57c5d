"""What a pod's state means, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.core import execution_pb2

from services.executor import meters
from services.executor.pods import observe
from services.executor.pods.observe import Graces, Stage

NOW_US = observe.moment_us("2026-01-01T00:10:00Z")
"""The pods of these tests were made, and got their nodes, at 00:00:00."""
START = "2026-01-01T00:00:00Z"
USER, SYSTEM = execution_pb2.ExecutionError.USER, execution_pb2.ExecutionError.SYSTEM
SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": START}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


def pod(phase: str = "Pending", *containers: Any, deleted: bool = False, node: str = "n", **status: Any) -> Any:
    metadata: dict[str, Any] = {"name": "p", "creationTimestamp": START}
    if deleted:
        metadata["deletionTimestamp"] = START
    status = {"phase": phase, "containerStatuses": list(containers), **status}
    return {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": status}


def waiting(reason: str, name: str = "primary") -> Any:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": "because"}}}


def running(name: str = "primary") -> Any:
    return {"name": name, "state": {"running": {"startedAt": START}}}


def ended(code: int = 0, reason: str = "", name: str = "primary") -> Any:
    state = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "startedAt": START}
    return {"name": name, "state": {"terminated": state | {"message": "the end of the log"}}}


def seen(given: Any, *, after_seconds: float = 600.0, whole: bool = False, **graces: float) -> observe.Observation:
    now_us = observe.moment_us(START) + round(after_seconds * 1e6)
    return observe.observe(given, "primary", now_us, Graces(**graces), whole)


def failure(given: Any, **how: Any) -> tuple[str, int, bool]:
    """Code, kind and whether it is tried again."""
    end = seen(given, **how).outcome
    assert end is not None
    error = execution_pb2.ExecutionError.FromString(end.error)
    return error.code, error.kind, end.recoverable


@pytest.mark.parametrize(
    ("given", "stage"),
    [
        (pod(node="", conditions=[UNSCHEDULABLE]), Stage.QUEUED),
        (pod(node=""), Stage.QUEUED),
        (pod(conditions=[SCHEDULED]), Stage.INITIALIZING),
        (pod("Pending", waiting("ContainerCreating")), Stage.INITIALIZING),
        (pod("Pending", waiting("PodInitializing")), Stage.INITIALIZING),
        (pod("Pending", waiting("ErrImagePull")), Stage.INITIALIZING),
        (pod("Running", running()), Stage.RUNNING),
        (pod("Running", running(), waiting("CrashLoopBackOff", "proxy")), Stage.RUNNING),
        (pod("Running", waiting("ContainerCreating"), running("proxy")), Stage.INITIALIZING),
        (pod("Running", ended(), running("proxy")), Stage.ENDED),
        (pod("Succeeded", ended()), Stage.ENDED),
        (pod("Failed", ended(1)), Stage.ENDED),
        (pod("Succeeded", ended(), deleted=True), Stage.ENDED),
    ],
)
def test_a_pod_that_is_well_is_as_far_as_its_primary_container(given: Any, stage: Stage) -> None:
    assert seen(given).stage is stage


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pod("Pending", waiting("CreateContainerError")), ("CreateContainerError", USER, False)),
        (pod("Pending", waiting("CreateContainerConfigError")), ("CreateContainerConfigError", USER, False)),
        (pod("Pending", waiting("InvalidImageName")), ("InvalidImageName", USER, False)),
        (pod("Pending", waiting("ImagePullBackOff")), ("ImagePullBackOff", USER, True)),
        (pod("Running", waiting("ImagePullBackOff"), running("proxy")), ("ImagePullBackOff", USER, True)),
        (pod("Pending", waiting("RunContainerError")), ("RunContainerError", SYSTEM, True)),
        (pod("Failed", reason="Evicted", message="low on memory"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", ended(1), reason="Evicted"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", reason="Shutdown"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", reason="Terminated"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", reason="NodeShutdown"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", reason="NodeAffinity"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", reason="OutOfmemory"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", reason="DeadlineExceeded"), ("DeadlineExceeded", USER, True)),
        (
            pod(
                "Failed", ended(143), conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "Preempted"}]
            ),
            ("Interrupted", SYSTEM, True),
        ),
        (pod("Failed", ended(137, "ContainerStatusUnknown")), ("Interrupted", SYSTEM, True)),
        (pod("Failed"), ("Interrupted", SYSTEM, True)),
        (pod("Failed", initContainerStatuses=[ended(3, name="fetch")]), ("TaskProcessFailed", USER, True)),
        (pod("Running", running(), deleted=True), ("UnexpectedObjectDeletion", SYSTEM, True)),
        (pod("Pending", deleted=True), ("UnexpectedObjectDeletion", SYSTEM, True)),
        (pod("Failed", ended(143), deleted=True), ("UnexpectedObjectDeletion", SYSTEM, True)),
    ],
)
def test_a_pod_that_fails_says_whose_fault_it_is(given: Any, expected: tuple[str, int, bool]) -> None:
    assert failure(given) == expected


def test_what_may_pass_is_given_time_counted_from_when_it_could_begin() -> None:
    given = pod("Pending", waiting("ImagePullBackOff"), conditions=[SCHEDULED])
    early = seen(given, after_seconds=179)
    assert early.stage is Stage.INITIALIZING and "because" in early.reason
    assert early.look_again_us == observe.moment_us("2026-01-01T00:03:00Z")
    assert seen(given, after_seconds=180).stage is Stage.FAILED
    assert seen(given, after_seconds=100, image_pull_seconds=60).stage is Stage.FAILED
    # Who prepares the pod for long takes nothing of the time that its task's container has.
    prepared = {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:09:00Z"}
    assert (
        seen(pod("Pending", waiting("ImagePullBackOff"), conditions=[SCHEDULED, prepared])).stage is Stage.INITIALIZING
    )


def test_a_pod_may_wait_for_a_node_for_ever_unless_that_is_limited() -> None:
    given = pod(node="", conditions=[UNSCHEDULABLE])
    assert seen(given, after_seconds=1e6).stage is Stage.QUEUED
    limited = seen(given, after_seconds=10, pending_seconds=60)
    assert limited.stage is Stage.QUEUED and limited.look_again_us == observe.moment_us("2026-01-01T00:01:00Z")
    assert failure(given, after_seconds=60, pending_seconds=60) == ("PodPendingTimeout", SYSTEM, True)


@pytest.mark.parametrize(
    ("given", "code", "memory"),
    [
        (pod("Failed", ended(137, "OOMKilled")), 137, True),
        (pod("Succeeded", ended(), ended(137, "OOMKilled", "proxy")), 0, True),
        (pod("Running", ended(137, "OOMKilled"), running("proxy")), 137, True),
        (pod("Running", ended(), ended(137, "OOMKilled", "proxy"), running("other")), 0, False),
        (pod("Failed", ended(137)), 137, False),
        (pod("Failed", ended(2)), 2, False),
    ],
)
def test_how_the_primary_container_ended_is_told(given: Any, code: int, memory: bool) -> None:
    end = seen(given)
    assert end.stage is Stage.ENDED and end.exit is not None
    assert (end.exit.code, end.exit.out_of_memory) == (code, memory)
    assert end.log_tail == "the end of the log" and end.started_us == observe.moment_us(START)


def test_where_somebody_else_collects_outputs_success_waits_for_all() -> None:
    given = pod("Running", ended(), running("collector"))
    assert seen(given, whole=True).stage is Stage.RUNNING
    assert seen(pod("Running", ended(1), running("collector")), whole=True).stage is Stage.ENDED
    assert seen(pod("Succeeded", ended(), ended(name="collector")), whole=True).stage is Stage.ENDED


def test_a_pod_is_over_when_its_containers_are_whatever_its_phase_says_yet() -> None:
    assert observe.is_over(pod("Running", ended(1)))
    assert observe.is_over(pod("Failed"))
    assert not observe.is_over(pod("Running", ended(1), running("proxy")))
    assert not observe.is_over(pod("Running", ended(1), initContainerStatuses=[running("sidecar")]))
    assert not observe.is_over(pod("Pending"))


def test_metrics_name_every_stage_that_a_pod_can_be_in() -> None:
    assert set(meters.STAGES) == {"waiting"} | {stage.name.lower() for stage in Stage if not stage.final}


def test_a_pod_that_is_missing_was_deleted_by_somebody() -> None:
    end = observe.missing()
    assert end.stage is Stage.FAILED and end.gone and end.outcome is not None and end.outcome.recoverable
