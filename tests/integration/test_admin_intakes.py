"""Intakes at the front door: what may be defined, and how far they are by what Redis says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import identifier_pb2

from libs.workflow.intake import Kind
from protos import airscrew_pb2, intake_pb2
from tests.support import flyte
from tests.support.admin import Door
from tests.support.intakes import KEY, push
from tests.support.redis import RedisServer
from tests.support.sums import register, sums

pytestmark = pytest.mark.timeout(60)

ID = intake_pb2.IntakeId(project=flyte.PROJECT, domain=flyte.DOMAIN, name="sales")


@pytest.fixture
def stubs(admin: Door, user: flyte.Client) -> Iterator[flyte.Stubs]:
    register(user.remote())
    with user.stubs() as stubs:
        yield stubs


def add(stubs: flyte.Stubs, **changed: Any) -> intake_pb2.Intake:
    plan = identifier_pb2.Identifier(name=changed.pop("plan", sums.name), version=changed.pop("version", ""))
    fields = {"id": ID, "source": "redis://127.0.0.1:1/tasks", "codec": intake_pb2.CODEC_JSON, "launch_plan": plan}
    asked = intake_pb2.Intake(**{**fields, **changed})
    added: intake_pb2.Intake = stubs.airscrew.AddIntake(airscrew_pb2.AddIntakeRequest(intake=asked))
    return added


def the_only_one(stubs: flyte.Stubs) -> airscrew_pb2.ListIntakesReply.Entry:
    request = airscrew_pb2.ListIntakesRequest(project=flyte.PROJECT, domain=flyte.DOMAIN, progress=True)
    (entry,) = stubs.airscrew.ListIntakes(request).intakes
    return entry


def test_adding_the_same_again_changes_nothing_and_another_of_that_name_is_refused(stubs: flyte.Stubs) -> None:
    added = add(stubs)
    assert (added.launch_plan.version, added.limit, added.tries, added.field) == ("v1", 1000, 5, "data")
    stubs.airscrew.PauseIntake(airscrew_pb2.PauseIntakeRequest(id=ID, paused=True))
    again = add(stubs)
    assert again.created_us == added.created_us and again.paused
    with pytest.raises(grpc.RpcError) as caught:
        add(stubs, limit=7)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"plan": "shop.nothing"}, grpc.StatusCode.NOT_FOUND, "shop.nothing"),
        ({"version": "v7"}, grpc.StatusCode.NOT_FOUND, "v7"),
        ({"plan": ""}, grpc.StatusCode.INVALID_ARGUMENT, "launch_plan.name"),
        ({"source": "redis://h"}, grpc.StatusCode.INVALID_ARGUMENT, "source"),
        ({"codec": 0}, grpc.StatusCode.INVALID_ARGUMENT, "codec"),
        ({"kind": 9}, grpc.StatusCode.INVALID_ARGUMENT, "kind"),
        ({"id": intake_pb2.IntakeId(project="p", domain="d")}, grpc.StatusCode.INVALID_ARGUMENT, "id.name"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    stubs: flyte.Stubs, changed: dict[str, Any], code: grpc.StatusCode, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        add(stubs, **changed)
    assert caught.value.code() is code and words in caught.value.details()


def test_without_a_version_it_is_the_active_one_and_stays_that(user: flyte.Client, stubs: flyte.Stubs) -> None:
    plan = identifier_pb2.Identifier(
        resource_type=identifier_pb2.LAUNCH_PLAN,
        project=flyte.PROJECT,
        domain=flyte.DOMAIN,
        name=sums.name,
        version="v1",
    )
    stubs.admin.UpdateLaunchPlan(launch_plan_pb2.LaunchPlanUpdateRequest(id=plan, state=launch_plan_pb2.ACTIVE))
    register(user.remote(), "v2")
    assert add(stubs).launch_plan.version == "v1"


def test_the_list_says_what_redis_says_or_that_it_is_away(stubs: flyte.Stubs, redis_server: RedisServer) -> None:
    add(stubs, source=redis_server.source(KEY))
    push(redis_server, Kind.LIST, {"x": 1}, {"x": 2})
    entry = the_only_one(stubs)
    assert (entry.progress.waiting, entry.progress.runner, entry.pending) == (2, "", 0)
    redis_server.kill()
    entry = the_only_one(stubs)
    assert "does not answer" in entry.progress.note and not entry.progress.HasField("waiting")


def test_the_list_is_there_although_the_queue_service_is_not(admin: Door, stubs: flyte.Stubs) -> None:
    add(stubs)
    admin.run(admin.queue.stop())
    try:
        assert "the queue service does not answer" in the_only_one(stubs).progress.note
    finally:
        admin.run(admin.queue.start())


def test_one_that_is_removed_is_unknown(stubs: flyte.Stubs) -> None:
    add(stubs)
    stubs.airscrew.RemoveIntake(airscrew_pb2.RemoveIntakeRequest(id=ID))
    calls: list[tuple[Any, Any]] = [
        (stubs.airscrew.RemoveIntake, airscrew_pb2.RemoveIntakeRequest(id=ID)),
        (stubs.airscrew.PauseIntake, airscrew_pb2.PauseIntakeRequest(id=ID, paused=True)),
        (stubs.airscrew.ReplayIntake, airscrew_pb2.ReplayIntakeRequest(id=ID)),
        (stubs.airscrew.ListDeadItems, airscrew_pb2.ListDeadItemsRequest(id=ID)),
    ]
    for call, request in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
