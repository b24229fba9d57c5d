"""Pods when the Kubernetes API is away, busy or forgetful, and when the executor is scaled away: on a fake one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import tasks_pb2

from libs.workflow.backend import Backend
from protos import executor_pb2
from tests.support.executing import executing, template
from tests.support.kubernetes import NAMESPACE, FakeKubernetes
from tests.support.kubernetes_objects import KINDS
from tests.support.leader import Assignments, ExecutorSession, Leader, error_of

RUNNING = {"phase": "Running", "containerStatuses": [{"name": "primary", "state": {"running": {}}}]}
SUCCEEDED = {"phase": "Succeeded", "containerStatuses": [{"name": "primary", "state": {"terminated": {"exitCode": 0}}}]}
SET = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "executor", "uid": "u", "controller": True}

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def settings(executor_settings: dict[str, Any], fake_kubernetes: FakeKubernetes, tmp_path: Path) -> dict[str, Any]:
    return executor_settings | {
        "task_backend": Backend.POD,
        "id": "executor-1",
        "pod_kubeconfig": fake_kubernetes.kubeconfig(tmp_path),
        "pod_keep_failed_seconds": 0.0,
    }


Assigned = tuple[executor_pb2.Assign, tasks_pb2.TaskTemplate]


async def pod_of(fake: FakeKubernetes, assigned: Assigned) -> str:
    """The name of an attempt's pod, as soon as there is one."""
    async with asyncio.timeout(20):
        while True:
            for pod in fake.pods():
                if pod["metadata"].get("labels", {}).get("node-id") == assigned[0].id.node:
                    return str(pod["metadata"]["name"])
            await asyncio.sleep(0.01)


async def runs(fake: FakeKubernetes, session: ExecutorSession, assigned: Assigned) -> str:
    """A pod that runs, and of which that is known."""
    session.assign(assigned)
    name = await pod_of(fake, assigned)
    fake.become(name, RUNNING)
    await session.running(assigned[0].id)
    return name


async def until_watched(fake: FakeKubernetes) -> None:
    async with asyncio.timeout(20):
        while not fake.watches:
            await asyncio.sleep(0.01)


async def test_what_a_lost_watch_has_missed_is_found_in_the_list(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    deleted, done = work.of(template("x")), work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        names = [await runs(fake_kubernetes, session, each) for each in (deleted, done)]
        await fake_kubernetes.stop()
        fake_kubernetes.let_go(names[0])
        fake_kubernetes.become(names[1], SUCCEEDED)
        fake_kubernetes.objects.forget_changes()
        await fake_kubernetes.start()
        assert error_of(await session.final(deleted[0].id)).code == "ResourceDeletedExternally"
        assert (await session.final(done[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED


async def test_a_watch_that_ends_goes_on_where_it_was(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        name = await runs(fake_kubernetes, session, assigned)
        lists = [each for each in fake_kubernetes.requests if each.method == "GET" and not each.is_watch]
        fake_kubernetes.end_watches()
        fake_kubernetes.become(name, SUCCEEDED)
        assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        again = [each for each in fake_kubernetes.requests if each.method == "GET" and not each.is_watch]
        assert [each.path for each in again if "log" not in each.path] == [each.path for each in lists]


async def test_pods_are_watched_and_not_asked_for(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    many = [work.of(template("x")) for _ in range(20)]
    async with executing(settings):
        session = await leader.session()
        for name in [await runs(fake_kubernetes, session, each) for each in many]:
            fake_kubernetes.become(name, SUCCEEDED)
        for each in many:
            await session.final(each[0].id)
    asked = [each for each in fake_kubernetes.requests if each.method == "GET" and "log" not in each.path]
    assert len(asked) <= 3, "a list, and watches"


async def test_a_server_that_is_busy_is_asked_again(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        fake_kubernetes.too_many_requests()
        session.assign(assigned)
        fake_kubernetes.become(await pod_of(fake_kubernetes, assigned), SUCCEEDED)
        assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        assert any("ClusterBusy" in each.reason for each in session.of(assigned[0].id))


async def test_a_cluster_that_is_away_is_waited_for_before_any_leader_hears_of_the_executor(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        await runs(fake_kubernetes, await leader.session(), assigned)
    await fake_kubernetes.stop()
    leader.hellos.clear()
    async with executing(settings) as life:
        life.stopping.set()  # … and who waits for it can be stopped
    assert not leader.hellos
    async with executing(settings):
        await asyncio.sleep(0.3)
        assert not leader.hellos
        await fake_kubernetes.start()
        session = await leader.session()
        assert [report.id for report in session.hello.snapshot] == [assigned[0].id]


async def test_what_lies_below_every_pod_is_read_from_the_cluster_and_so_is_what_a_task_names(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    settings["pod_template"] = "ours"
    named, unnamed, mistaken = (work.of(template("x")) for _ in range(3))
    for name in ("ours", "theirs"):
        spec = {"containers": [{"name": "default", "image": "x"}], "schedulerName": name}
        made = {"metadata": {"name": name}, "template": {"spec": spec}}
        fake_kubernetes.objects.create(KINDS["podtemplates"], NAMESPACE, made)
    named[1].metadata.pod_template_name = "theirs"
    mistaken[1].metadata.pod_template_name = "nobodys"
    async with executing(settings):
        session = await leader.session()
        fake_kubernetes.too_many_requests()  # the first look is refused, and repeated
        session.assign(unnamed, named, mistaken)
        for each, expected in ((unnamed, "ours"), (named, "theirs")):
            name = await pod_of(fake_kubernetes, each)
            assert fake_kubernetes.pod(name)["spec"]["schedulerName"] == expected
            fake_kubernetes.become(name, SUCCEEDED)
        error = error_of(await session.final(mistaken[0].id))
        assert error.code == "FailedToBuildResource" and "nobodys" in error.message


async def test_a_pod_that_cannot_be_removed_for_now_is_removed_later(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        name = await runs(fake_kubernetes, session, assigned)
        fake_kubernetes.refuse(500, "InternalError", "no", times=2, wanted=lambda request: request.method == "DELETE")
        fake_kubernetes.become(name, SUCCEEDED)
        await session.final(assigned[0].id)
        async with asyncio.timeout(20):
            while fake_kubernetes.pods():
                await asyncio.sleep(0.02)


async def test_a_log_is_copied_while_it_grows_and_at_its_end_and_quoted_where_it_is_the_only_witness(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    settings["log_upload_seconds"] = 0.1
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        name = await runs(fake_kubernetes, session, assigned)
        fake_kubernetes.print(name, "primary", b"one\n")
        log = Path(assigned[0].log_uri)
        async with asyncio.timeout(20):
            while not log.exists() or log.read_bytes() != b"one\n":
                await asyncio.sleep(0.02)
        fake_kubernetes.print(name, "primary", b"two\n")
        ended = {"name": "primary", "state": {"terminated": {"exitCode": 3}}}
        fake_kubernetes.become(name, {"phase": "Failed", "containerStatuses": [ended]})
        assert "two" in error_of(await session.final(assigned[0].id)).message
    assert log.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize(("replicas", "goes_on"), [(2, True), (1, False)])
async def test_an_executor_that_is_scaled_away_hands_back_what_it_runs(
    leader: Leader,
    settings: dict[str, Any],
    work: Assignments,
    fake_kubernetes: FakeKubernetes,
    replicas: int,
    goes_on: bool,
) -> None:
    settings["own_pod"] = "executor-1"
    own = {
        "metadata": {"name": "executor-1", "ownerReferences": [SET]},
        "spec": {"containers": [{"name": "executor", "image": "x"}]},
    }
    fake_kubernetes.objects.create(KINDS["pods"], NAMESPACE, own)
    scaled = {"metadata": {"name": "executor"}, "spec": {"replicas": replicas}}
    fake_kubernetes.objects.create(KINDS["statefulsets"], NAMESPACE, scaled)
    assigned = work.of(template("x"))
    async with executing(settings) as life:
        session = await leader.session()
        name = await runs(fake_kubernetes, session, assigned)
        owners = fake_kubernetes.pod(name)["metadata"]["ownerReferences"]
        assert [(each["kind"], each["name"], each["uid"]) for each in owners] == [("StatefulSet", "executor", "u")]
        life.stopping.set()
        if not goes_on:
            async with asyncio.timeout(20):
                while "deletionTimestamp" not in fake_kubernetes.pod(name)["metadata"]:
                    await asyncio.sleep(0.02)
            fake_kubernetes.let_go(name)
            assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_HANDED_BACK
    if goes_on:
        assert "deletionTimestamp" not in fake_kubernetes.pod(name)["metadata"]


async def test_no_more_pods_than_slots(
    leader: Leader, settings: dict[str, Any], work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    settings["slots"] = 1
    first, second = work.of(template("x")), work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        name = await runs(fake_kubernetes, session, first)
        session.assign(second)
        assert (await session.final(second[0].id)).phase == executor_pb2.Report.PHASE_REJECTED
        fake_kubernetes.become(name, SUCCEEDED)
        await session.final(first[0].id)
        third = work.of(template("x"))
        await runs(fake_kubernetes, session, third)
