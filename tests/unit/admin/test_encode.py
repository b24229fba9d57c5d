"""Rows as flytekit's client needs to see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flyteidl.core import execution_pb2 as core

from libs.store.executions import AttemptRecord
from libs.store.records import ExecutionRecord
from libs.workflow.phases import AttemptPhase, CacheStatus, Desired, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import Data, Intent
from services.admin import encode
from tests.support import stored

ERROR = core.ExecutionError(code="USER:ValueError", message="no luck").SerializeToString()


def record(phase: ExecutionPhase, **changed: Any) -> ExecutionRecord:
    return stored.record(spec=b"", phase=phase, **changed)


def attempt(phase: AttemptPhase, number: int = 0) -> AttemptRecord:
    node = stored.node(outputs=Data.at("/blobs/outputs.pb", 10), attempt=0)
    return AttemptRecord(stored.attempt(number=number, phase=phase), node)


def test_every_phase_of_ours_has_one_that_the_client_knows() -> None:
    known = {1, 2, 3, 4, 5, 6, 7}
    for phase in AttemptPhase:
        if phase is not AttemptPhase.UNDEFINED:
            assert encode.attempt(stored.execution().id, attempt(phase), str).closure.phase in known


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        (AttemptPhase.RETRYABLE_FAILED, AttemptPhase.FAILED),
        (AttemptPhase.LOST, AttemptPhase.FAILED),
        (AttemptPhase.REJECTED, AttemptPhase.ABORTED),
        (AttemptPhase.HANDED_BACK, AttemptPhase.ABORTED),
        (AttemptPhase.SUCCEEDED, AttemptPhase.SUCCEEDED),
    ],
)
def test_an_attempt_is_shown_as_the_client_expects(ours: AttemptPhase, shown: AttemptPhase) -> None:
    assert encode.attempt(stored.execution().id, attempt(ours), str).closure.phase == shown


def test_only_the_attempt_that_succeeded_has_the_outputs_of_its_node() -> None:
    id = stored.execution().id
    assert encode.attempt(id, attempt(AttemptPhase.SUCCEEDED), str).closure.output_uri == "/blobs/outputs.pb"
    assert encode.attempt(id, attempt(AttemptPhase.FAILED), str).closure.output_uri == ""
    assert encode.attempt(id, attempt(AttemptPhase.SUCCEEDED, 1), str).closure.output_uri == ""


def test_the_log_of_an_attempt_is_given_out_by_a_signed_address() -> None:
    found = attempt(AttemptPhase.RUNNING)
    found.attempt.log_uri = "/blobs/logs/0.log"
    (log,) = encode.attempt(stored.execution().id, found, lambda uri: f"http://signed{uri}").closure.logs
    assert log.uri == "http://signed/blobs/logs/0.log"


def test_a_recovered_node_counts_as_succeeded() -> None:
    id = stored.execution().id
    assert encode.node(id, stored.node(phase=NodePhase.RECOVERED)).closure.phase == NodePhase.SUCCEEDED


@pytest.mark.parametrize("phase", [phase for phase in NodePhase if phase not in (0, NodePhase.RECOVERED)])
def test_other_phases_of_nodes_are_flytes(phase: NodePhase) -> None:
    assert encode.node(stored.execution().id, stored.node(phase=phase)).closure.phase == phase


def test_a_node_below_another_says_which_of_its_attempts_it_belongs_to() -> None:
    id = stored.execution().id
    below = encode.node(id, stored.node("n1-2-n0", spec_id="n0", parent_id="n1"))
    assert (below.metadata.retry_group, below.metadata.spec_node_id) == ("2", "n0")
    parent = encode.node(id, stored.node("n1", kind=NodeKind.SUBWORKFLOW))
    assert parent.metadata.is_parent_node
    assert parent.metadata.retry_group == ""


def test_the_error_of_a_retried_node_that_succeeded_is_not_shown() -> None:
    id = stored.execution().id
    assert not encode.node(id, stored.node(phase=NodePhase.SUCCEEDED, error=ERROR)).closure.HasField("error")
    assert encode.node(id, stored.node(phase=NodePhase.FAILED, error=ERROR)).closure.error.message == "no luck"


def test_an_abort_that_is_wanted_shows_its_cause_until_and_after_it_is_done() -> None:
    wanted = Intent(2, Desired.ABORT, "enough", "anna")
    for phase, shown in (
        (ExecutionPhase.RUNNING, ExecutionPhase.ABORTING),
        (ExecutionPhase.ABORTED, ExecutionPhase.ABORTED),
    ):
        closure = encode.execution(record(phase, intent=wanted)).closure
        assert closure.phase == shown
        assert (closure.abort_metadata.cause, closure.abort_metadata.principal) == ("enough", "anna")


def test_a_late_abort_does_not_hide_how_an_execution_ended() -> None:
    wanted = Intent(2, Desired.ABORT, "too late", "")
    closure = encode.execution(record(ExecutionPhase.FAILED, intent=wanted, error=ERROR)).closure
    assert closure.phase == ExecutionPhase.FAILED
    assert closure.error.message == "no luck"


def test_the_duration_of_an_execution_is_known_when_it_has_ended() -> None:
    running = record(ExecutionPhase.RUNNING, started_at_us=1_000_000)
    assert not encode.execution(running).closure.HasField("duration")
    ended = record(ExecutionPhase.SUCCEEDED, started_at_us=1_000_000, ended_at_us=3_500_000)
    assert encode.execution(ended).closure.duration.ToMicroseconds() == 2_500_000


def test_archiving_shows() -> None:
    archived = replace(record(ExecutionPhase.SUCCEEDED), state=1)
    assert encode.execution(archived).closure.state_change_details.state == 1


@pytest.mark.parametrize("at_us", [0, 1, 999_999, 1_700_000_000_123_456])
def test_a_point_in_time_keeps_its_microseconds(at_us: int) -> None:
    stamp = encode.timestamp(at_us)
    assert stamp is not None
    assert stamp.ToMicroseconds() == at_us


def test_only_sub_workflows_and_dynamic_nodes_that_can_be_shown_are_parents() -> None:
    owner = stored.execution().id
    parents = {
        (kind, bool(closure)): encode.node(owner, stored.node(kind=kind, closure_uri=closure)).metadata.is_parent_node
        for kind in NodeKind
        for closure in (None, "/closure.pb")
    }
    assert {which for which, parent in parents.items() if parent} == {
        (NodeKind.TASK, True),
        (NodeKind.SUBWORKFLOW, False),
        (NodeKind.SUBWORKFLOW, True),
    }
    array = encode.node(owner, stored.node(kind=NodeKind.ARRAY, phase=NodePhase.QUEUED)).metadata
    assert array.is_array and not array.is_dynamic


def test_a_node_without_cache_has_no_metadata_of_one() -> None:
    assert encode.node(stored.execution().id, stored.node()).closure.WhichOneof("target_metadata") is None
    missed = encode.node(stored.execution().id, stored.node(cache_key=b"k", cache_status=CacheStatus.MISS))
    assert missed.closure.task_node_metadata.cache_status == CacheStatus.MISS
    assert missed.closure.task_node_metadata.catalog_key.artifact_tag.name == "flyte_cached-6b"
