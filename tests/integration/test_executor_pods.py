"""Tasks as pods: every way that a pod can go, on a Kubernetes API whose nodes are the test's own (`kubelet`).

Each runs on a fake one, and on a real one where there is one (`tests.support.kube_apiserver`), whose own nodes, if it
has any, leave these pods alone (`tests.support.pods`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import errors_pb2, execution_pb2, literals_pb2, types_pb2

from protos import executor_pb2, propeller_pb2
from tests.support.executing import executing, template
from tests.support.kubelet import Kubelet
from tests.support.leader import Assignments, Leader, error_of, outputs_of
from tests.support.pods import Place, env_of

pytestmark = pytest.mark.usefixtures("impatient")

STRAY: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "stray", "labels": {"airscrew/executor": "executor-0"}},
    "spec": {"containers": [{"name": "primary", "image": "x"}], "schedulerName": "nobody"},
}
"""A pod of this executor's that it knows nothing of."""
OTHERS = STRAY | {"metadata": {"name": "others", "labels": {"airscrew/executor": "executor-1"}}}

USER, SYSTEM = execution_pb2.ExecutionError.USER, execution_pb2.ExecutionError.SYSTEM


@pytest.fixture
def settings(executor_settings: dict[str, Any], kubernetes: Place) -> dict[str, Any]:
    return executor_settings | kubernetes.settings


@pytest.fixture
def kubelet(kubernetes: Place) -> Kubelet:
    return kubernetes.kubelet


def place(assigned: tuple[executor_pb2.Assign, Any], name: str, data: bytes) -> None:
    """What the task leaves at its output prefix."""
    folder = Path(assigned[0].output_prefix)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def number(value: int) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value)))


async def test_a_pod_is_made_of_the_task_and_its_outputs_are_reported(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    words = ("pyflyte-execute", "--inputs", "{{.input}}", "--output-prefix", "{{.outputPrefix}}")
    assigned = work.of(template(*words, outputs={"o0": types_pb2.INTEGER}), {"a": number(1)}, container_image="img:1")
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        pod = await kubelet.pod_of(assigned[0].id.node)
        container = pod["spec"]["containers"][0]
        prefix = assigned[0].output_prefix
        assert container["image"] == "img:1"
        assert container["args"] == [
            *("pyflyte-execute", "--inputs", f"{prefix}/inputs.pb"),
            *("--output-prefix", prefix),
        ]
        assert literals_pb2.LiteralMap.FromString(Path(prefix, "inputs.pb").read_bytes()).literals["a"] == number(1)
        assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
        assert env_of(pod)["FLYTE_INTERNAL_EXECUTION_ID"] == "ex1"
        labels = pod["metadata"]["labels"]
        assert labels["execution-id"] == "ex1" and labels["task-name"] == "t" and labels["project"] == "flytesnacks"
        assert pod["spec"]["restartPolicy"] == "Never" and pod["spec"]["automountServiceAccountToken"] is False

        name = await kubelet.bind(pod)
        await kubelet.waits(name, "ContainerCreating")
        await kubelet.runs(name)
        await session.running(assigned[0].id)
        outputs = literals_pb2.LiteralMap(literals={"o0": number(2)})
        place(assigned, "outputs.pb", outputs.SerializeToString())
        await kubelet.ends(name)
        report = await session.final(assigned[0].id)
        assert outputs_of(report)["o0"] == number(2)
        assert report.started_us > 0
        await kubelet.none_left()


async def test_the_error_that_a_task_wrote_is_its_end_and_its_pod_stays_for_a_while(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    settings["pod_keep_failed_seconds"] = 0.3
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        error = errors_pb2.ContainerError(code="ValueError", message="no", origin=USER)
        place(assigned, "error.pb", errors_pb2.ErrorDocument(error=error).SerializeToString())
        await kubelet.runs(name)
        await kubelet.ends(name, code=1, phase="Running")  # it says so of its container first
        report = await session.final(assigned[0].id)
        assert (error_of(report).code, error_of(report).kind, report.recoverable) == ("ValueError", USER, False)
        await kubelet.seen(name, lambda pod: "airscrew/ended" in pod["metadata"]["labels"])
        await kubelet.deleted(name)
        await kubelet.let_go(name)


@pytest.mark.parametrize(
    ("code", "reason", "expected", "kind"),
    [
        (1, "Error", "TaskProcessFailed", USER),
        (137, "OOMKilled", "OOMKilled", USER),
        (137, "Error", "Interrupted", SYSTEM),
    ],
)
async def test_a_container_that_fails_is_tried_again_at_whose_expense_its_end_says(
    leader: Leader,
    settings: dict[str, Any],
    work: Assignments,
    kubelet: Kubelet,
    code: int,
    reason: str,
    expected: str,
    kind: int,
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.runs(name)
        await kubelet.ends(name, code, reason, message="the last words")
        report = await session.final(assigned[0].id)
        assert (error_of(report).code, error_of(report).kind, report.recoverable) == (expected, kind, True)
        assert "the last words" in error_of(report).message


async def test_a_pod_that_is_evicted_costs_the_user_nothing(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.runs(name)
        await kubelet.say(name, phase="Failed", reason="Evicted", message="the node was low on memory")
        report = await session.final(assigned[0].id)
        assert (error_of(report).code, error_of(report).kind, report.recoverable) == ("Interrupted", SYSTEM, True)
        assert "low on memory" in error_of(report).message


async def test_an_image_that_cannot_be_pulled_fails_when_its_grace_is_over(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    settings["pod_image_pull_seconds"] = 1.0
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.waits(name, "ErrImagePull", "no such image")
        await session.until(
            lambda: any("no such image" in each.reason for each in session.of(assigned[0].id)), "what it waits for"
        )
        await kubelet.waits(name, "ImagePullBackOff", "back-off pulling image")
        await kubelet.deleted(name)
        await kubelet.let_go(name)
        report = await session.final(assigned[0].id)
        assert (error_of(report).code, error_of(report).kind, report.recoverable) == ("ImagePullBackOff", USER, True)


async def test_a_pod_that_somebody_deletes_is_tried_again(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    waiting, running = work.of(template("x")), work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(waiting, running)
        await kubelet.delete((await kubelet.pod_of(waiting[0].id.node))["metadata"]["name"])
        report = await session.final(waiting[0].id)
        deleted = {"UnexpectedObjectDeletion", "ResourceDeletedExternally"}  # whether it is seen on its way out
        assert error_of(report).code in deleted and error_of(report).kind == SYSTEM
        name = await kubelet.bind(await kubelet.pod_of(running[0].id.node))
        await kubelet.runs(name)
        await session.running(running[0].id)
        await kubelet.delete(name)
        await kubelet.let_go(name)
        report = await session.final(running[0].id)
        assert error_of(report).code in deleted
        assert error_of(report).kind == SYSTEM and report.recoverable


async def test_a_stop_deletes_the_pod_and_is_confirmed_when_nothing_of_it_runs(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.runs(name)
        await session.running(assigned[0].id)
        session.stop(assigned[0].id, "not wanted")
        pod = await kubelet.deleted(name)
        assert pod["metadata"]["deletionGracePeriodSeconds"] == 1
        assert session.phases(assigned[0].id)[-1] == "RUNNING"
        await kubelet.let_go(name)
        report = await session.final(assigned[0].id)
        assert (report.phase, report.reason) == (executor_pb2.Report.PHASE_ABORTED, "not wanted")


async def test_time_that_is_up_ends_the_pod(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    assigned = work.of(template("x"), time_allowed_us=1_100_000)
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.runs(name)
        await kubelet.deleted(name)
        await kubelet.let_go(name)
        assert error_of(await session.final(assigned[0].id)).code == "TimeoutExpired"


async def test_what_runs_beside_the_task_keeps_nobody_waiting(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.runs(name, "primary", "proxy")
        await kubelet.ends(name, beside=("proxy",))
        assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        await kubelet.deleted(name)
        await kubelet.let_go(name)


async def test_a_restarted_executor_goes_on_with_its_pods(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    running, ended, lost = (work.of(template("x", outputs={"o0": types_pb2.INTEGER})) for _ in range(3))
    place(ended, "outputs.pb", literals_pb2.LiteralMap(literals={"o0": number(2)}).SerializeToString())
    async with executing(settings):
        session = await leader.session()
        session.assign(running, ended, lost)
        for each in (running, ended, lost):
            name = await kubelet.bind(await kubelet.pod_of(each[0].id.node))
            await kubelet.runs(name)
            before = await session.running(each[0].id)
    pods = {pod["metadata"]["labels"]["node-id"]: pod["metadata"]["name"] for pod in await kubelet.pods()}
    assert set(pods) == {each[0].id.node for each in (running, ended, lost)}, "they go on without the executor"
    await kubelet.ends(pods[ended[0].id.node])

    leader.hellos.clear()
    async with executing(settings):
        session = await leader.session()
        known = {report.id.node: report for report in session.hello.snapshot}
        assert known[running[0].id.node].seq > before.seq
        report = await session.final(ended[0].id)
        assert outputs_of(report)["o0"] == number(2)
        session.stop(lost[0].id, "begun anew elsewhere, for the executor was away for too long")
        await kubelet.deleted(pods[lost[0].id.node])
        await kubelet.let_go(pods[lost[0].id.node])
        assert (await session.final(lost[0].id)).phase == executor_pb2.Report.PHASE_ABORTED
        session.assign(running)  # a leader that is not sure says it again
        await session.until(lambda: session.of(running[0].id) != [], "an answer")
        place(running, "outputs.pb", literals_pb2.LiteralMap(literals={"o0": number(3)}).SerializeToString())
        await kubelet.ends(pods[running[0].id.node])
        assert outputs_of(await session.final(running[0].id))["o0"] == number(3)
        await kubelet.none_left()
        session.assign(ended)  # a number that was used once is used
        await session.until(
            lambda: any(b"AttemptNumberUsed" in each.error for each in session.of(ended[0].id)), "a refusal"
        )
    assert not await kubelet.pods()


async def test_an_executor_without_its_disk_goes_on_with_its_pods_too(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet, tmp_path: Path
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.runs(name)
        await session.running(assigned[0].id)
    settings["data_dir"] = tmp_path / "another"
    leader.hellos.clear()
    async with executing(settings):
        session = await leader.session()
        assert [report.id for report in session.hello.snapshot] == [assigned[0].id]
        await kubelet.ends(name)
        assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED


async def test_a_pod_that_no_attempt_knows_is_removed(
    leader: Leader, settings: dict[str, Any], kubelet: Kubelet
) -> None:
    await kubelet.make(STRAY)
    async with executing(settings):
        await leader.session()
        await kubelet.none_left()
        await kubelet.make(STRAY)  # … and whenever one comes
        await kubelet.none_left()
        await kubelet.make(OTHERS)
        await kubelet.make(STRAY)
        async with asyncio.timeout(10):
            while {pod["metadata"]["name"] for pod in await kubelet.pods()} != {"others"}:
                await asyncio.sleep(0.02)


async def test_without_quota_a_pod_waits_until_another_has_ended(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubernetes: Place
) -> None:
    kubelet = kubernetes.kubelet
    first, second, huge = work.of(template("x")), work.of(template("x")), work.of(template("x"))
    huge[1].container.resources.limits.add(name=1, value="100")
    await kubernetes.quota({"limits.cpu": "1"})
    async with executing(settings):
        session = await leader.session()
        session.assign(first)
        name = await kubelet.bind(await kubelet.pod_of(first[0].id.node))
        await kubernetes.quota({"limits.cpu": "1"}, used={"limits.cpu": "1"})
        session.assign(second, huge)
        report = await session.final(huge[0].id)
        assert error_of(report).code == "ResourceRequestsExceedLimits" and not report.recoverable
        await session.until(
            lambda: any("QuotaExceeded" in each.reason for each in session.of(second[0].id)), "a reason to wait"
        )
        await kubelet.runs(name)
        await kubernetes.quota({"limits.cpu": "1"}, used={"limits.cpu": "0"})
        await kubelet.ends(name)
        assert (await session.final(first[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        name = await kubelet.bind(await kubelet.pod_of(second[0].id.node))
        await kubelet.runs(name)
        await kubelet.ends(name)
        assert (await session.final(second[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED


async def test_a_task_that_is_no_pod_ends_at_once(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    assigned = work.of(template("x"))
    assigned[1].container.image = ""
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        report = await session.final(assigned[0].id)
        assert error_of(report).code == "BadTaskFormat" and not report.recoverable
        assert "image" in error_of(report).message
    assert not await kubelet.pods()


async def test_what_has_no_pod_yet_is_handed_back_by_an_executor_that_stops(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubernetes: Place
) -> None:
    assigned = work.of(template("x"))
    await kubernetes.kubelet.make(OTHERS)
    await kubernetes.quota({"pods": "1"}, used={"pods": "1"})
    async with executing(settings) as life:
        session = await leader.session()
        session.assign(assigned)
        await session.until(lambda: any("Quota" in each.reason for each in session.of(assigned[0].id)), "a wait")
        life.stopping.set()
        assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_HANDED_BACK


async def test_a_drain_ends_the_pods_and_hands_them_back(
    leader: Leader, settings: dict[str, Any], work: Assignments, kubelet: Kubelet
) -> None:
    assigned = work.of(template("x"))
    async with executing(settings):
        session = await leader.session()
        session.assign(assigned)
        name = await kubelet.bind(await kubelet.pod_of(assigned[0].id.node))
        await kubelet.runs(name)
        await session.running(assigned[0].id)
        session.send(propeller_pb2.LeaderMessage(drain=propeller_pb2.Drain(grace_us=100_000)))
        await kubelet.deleted(name)
        await kubelet.let_go(name)
        assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_HANDED_BACK
