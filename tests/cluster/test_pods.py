"""Tasks as pods on a real Kubernetes: typed outputs, and whatever happens to a pod or to whoever watches it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flytekit.remote import FlyteLaunchPlan, FlyteRemote

from tests.cluster.conftest import HERE, WORK, registered
from tests.cluster.kube import Kube, until
from tests.support import flyte

IMAGE = "localhost/airscrew-task:dev"
WORKLOADS = ("deployment/airscrew-admin", "deployment/airscrew-propeller", "statefulset/airscrew-executor")
END_SECONDS = 240.0
OF_TASKS = "airscrew/executor"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def pair(kube: Kube, client: flyte.Client, remote: FlyteRemote) -> FlyteLaunchPlan:
    """A registered workflow whose tasks become pods, as the system now runs them."""
    kube("apply", "--kustomize", str(HERE / "overlay_pods"))
    for workload in WORKLOADS:
        kube.rolled_out(workload)
    return registered(client, remote, WORK, "pair", "pods", "--image", IMAGE)


class Run:
    """An execution of `pair`."""

    def __init__(self, kube: Kube, remote: FlyteRemote, plan: FlyteLaunchPlan, seconds: float) -> None:
        self._kube, self._remote = kube, remote
        self._execution = remote.execute(plan, inputs={"start": 5, "seconds": seconds})

    def pods(self, task: str = "") -> list[dict[str, Any]]:
        name = self._execution.id.name
        return self._kube.get("pod", f"{OF_TASKS},execution-id={name}" + (f",task-name=work.{task}" if task else ""))

    def working(self) -> dict[str, Any]:
        """The pod of a step that has begun."""
        found: list[dict[str, Any]] = []

        def begun() -> bool:
            found[:] = [pod for pod in self.pods("step") if pod["status"]["phase"] == "Running"]
            return bool(found)

        until(begun, "a step runs", END_SECONDS)
        return found[0]

    def end_well(self) -> dict[str, int]:
        """Asserts that its outputs are right; how many attempts each node took."""
        flyte.wait(self._remote, self._execution, END_SECONDS)
        ended = self._remote.sync_execution(self._execution, sync_nodes=True)
        assert ended.error is None, ended.error
        assert ended.outputs.get("total", as_type=int) == 2 * 6
        hosts = ended.outputs.get("hosts", as_type=list[str])
        assert len(set(hosts)) == 2
        assert all(host.startswith(self._execution.id.name) for host in hosts), hosts
        return {name: len(node.task_executions) for name, node in ended.node_executions.items() if node.task_executions}


def test_tasks_are_pods_and_give_typed_outputs(kube: Kube, remote: FlyteRemote, pair: FlyteLaunchPlan) -> None:
    run = Run(kube, remote, pair, seconds=1.0)
    pod = run.working()
    assert pod["spec"]["containers"][0]["image"] == IMAGE
    assert pod["metadata"]["ownerReferences"][0]["name"] == "airscrew-executor"
    assert set(run.end_well().values()) == {1}
    until(lambda: not run.pods(), "pods of tasks that have succeeded are gone", END_SECONDS)


def deleted(kube: Kube, pod: str) -> None:
    kube("delete", "pod", pod, "--wait=false")


def evicted(kube: Kube, pod: str) -> None:
    """As a node is emptied."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": kube.namespace}}
    path = f"/api/v1/namespaces/{kube.namespace}/pods/{pod}/eviction"
    kube("create", "--raw", path, "--filename=-", told=json.dumps(eviction))


@pytest.mark.parametrize("lose", [deleted, evicted])
def test_a_task_whose_pod_is_taken_away_is_begun_anew(
    lose: Callable[[Kube, str], None], kube: Kube, remote: FlyteRemote, pair: FlyteLaunchPlan
) -> None:
    run = Run(kube, remote, pair, seconds=15.0)
    lost = run.working()
    lose(kube, lost["metadata"]["name"])
    attempts = run.end_well()
    assert attempts.pop(lost["metadata"]["labels"]["node-id"]) == 2
    assert set(attempts.values()) == {1}


def test_pods_go_on_while_their_executor_is_replaced(kube: Kube, remote: FlyteRemote, pair: FlyteLaunchPlan) -> None:
    run = Run(kube, remote, pair, seconds=15.0)
    run.working()
    kube("delete", "pod", "airscrew-executor-0", "--wait=false")
    assert set(run.end_well().values()) == {1}


def test_a_container_that_knows_nothing_of_flyte_gets_files_and_leaves_typed_outputs(
    client: flyte.Client, remote: FlyteRemote, pair: FlyteLaunchPlan
) -> None:
    plan = registered(client, remote, HERE / "raw.py", "squared", "pods", "--image", IMAGE)
    ended = flyte.wait(remote, remote.execute(plan, inputs={"number": 12}), END_SECONDS)
    assert ended.error is None, ended.error
    assert ended.outputs.get("o0", as_type=int) == 144
    assert ended.outputs.get("o1", as_type=str) == "12 times 12"
