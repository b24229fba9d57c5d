"""What a leader and an executor tell each other comes out as it went in."""

from __future__ import annotations

import dataclasses

import pytest

from libs.wire import codec, session
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workflow.state import Data
from protos import executor_pb2

ID = AttemptId(7, "n0-0-n3", 2)
ASSIGNMENT = session.Assignment(
    id=ID,
    spec_digest=b"\x01" * 32,
    inputs=Data.of(b"in"),
    resources=Slots(100, 2, 3),
    output_prefix="/out",
    raw_output_prefix="/raw",
    log_uri="/log",
    inline_limit=9,
    time_allowed_us=8,
    traceparent="00-x",
    project="p",
    domain="d",
    name="ex",
    workflow="p:d:wf",
    launch_plan="p:d:lp",
    container_image="image",
    previous_checkpoint="/checkpoint",
    envs={"A": "b"},
    array_index=4,
    interruptible=True,
    security_context=b"context",
    shard=3,
    overrides=b"overrides",
    as_pod=True,
)


def told(assignment: session.Assignment) -> session.Assignment:
    return codec.decode_leader(codec.encode_leader([assignment])).assignments[0]


def test_an_assignment_arrives_with_every_field() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(session.Assignment)}
    assert all(getattr(ASSIGNMENT, name) != default for name, default in defaults.items()), "a field is not tried"
    assert told(ASSIGNMENT) == ASSIGNMENT


@pytest.mark.parametrize("index", [session.NO_INDEX, 0, 99_999])
def test_the_first_item_of_a_list_is_not_taken_for_none(index: int) -> None:
    assert told(dataclasses.replace(ASSIGNMENT, array_index=index)).array_index == index


def test_a_leader_that_does_not_know_of_items_assigns_none() -> None:
    message = codec.encode_leader([ASSIGNMENT])
    message.assigns[0].ClearField("array_index")
    assert codec.decode_leader(message).assignments[0].array_index == session.NO_INDEX


def test_an_assignment_lies_beside_what_runs_it_with_every_field() -> None:
    assert codec.assignment_from_bytes(codec.assignment_to_bytes(ASSIGNMENT)) == ASSIGNMENT


def test_a_report_arrives_and_is_spooled_with_every_field() -> None:
    report = session.Report(
        ID, 3, session.ReportPhase.SUCCEEDED, 5, Data.at("/futures.pb", 6), b"error", True, "why", "/deck", True, 4, 3
    )
    assert codec.report_from_bytes(codec.report_to_bytes(report)) == report
    assert codec.decode_executor(codec.encode_executor([report])).reports == (report,)


@pytest.mark.parametrize("outputs", [None, executor_pb2.Data(inline=b"x")])
def test_a_dynamic_report_without_the_place_of_its_plan_is_refused(outputs: executor_pb2.Data | None) -> None:
    message = executor_pb2.Report(phase=executor_pb2.Report.PHASE_SUCCEEDED, dynamic=True, outputs=outputs)
    with pytest.raises(InvalidArgument, match=r"report\.outputs"):
        codec.report_from_bytes(message.SerializeToString())


@pytest.mark.parametrize("offer", [None, Slots(), Slots(1, 2, 3)])
def test_a_greeting_says_which_shard_is_meant_and_what_is_offered(offer: Slots | None) -> None:
    hello = session.Hello("e", "life", Slots(4, 5, 6), highest_epoch=7, shard=2, offer=offer, backlog=8, places=9)
    assert codec.decode_executor(codec.encode_executor([hello])).hello == hello


def test_of_several_offers_in_a_message_the_last_one_counts() -> None:
    message = codec.encode_executor([session.Offer(Slots(9, 9, 9)), session.Offer(Slots(1, 2, 0))])
    assert codec.decode_executor(message).offer == Slots(1, 2, 0)
    assert codec.decode_executor(codec.encode_executor([session.Draining()])).offer is None


@pytest.mark.parametrize("demand", [session.Demand(), session.Demand(Slots(1, 2, 3), 4, -5, True)])
def test_a_demand_arrives_with_every_field(demand: session.Demand) -> None:
    assert codec.decode_leader(codec.encode_leader([demand])).demand == demand


def test_a_welcome_of_a_leader_that_does_not_know_of_shards_means_one() -> None:
    message = codec.encode_leader([session.Welcome(0, 5, 1, 2)])
    message.welcome.ClearField("shards")
    assert codec.decode_leader(message).verdict == session.Welcome(0, 5, 1, 2, shards=1)
