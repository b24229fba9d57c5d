"""On a real Kubernetes: the sample gives typed outputs, and whoever goes while executions run, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter

import grpc
import pytest
from flyteidl.core.execution_pb2 import NodeExecution
from flytekit.exceptions.system import FlyteSystemException, FlyteSystemUnavailableException
from flytekit.remote import FlyteLaunchPlan, FlyteRemote, FlyteWorkflowExecution

from tests.cluster.kube import Kube, until
from tests.cluster.work import LANES, STEPS
from tests.support import flyte
from tests.support.manifests import ROOT

SERVICES = {
    "admin": "deployment/airscrew-admin",
    "queue": "deployment/airscrew-queue",
    "propeller": "deployment/airscrew-propeller",
    "executor": "statefulset/airscrew-executor",
}
EXECUTIONS = 3
END_SECONDS = 180.0

pytestmark = pytest.mark.timeout(600)

of_each_service = pytest.mark.parametrize("service", SERVICES)


class Running:
    """Executions that are in the middle of their work."""

    def __init__(self, remote: FlyteRemote, plan: FlyteLaunchPlan, executions: int = EXECUTIONS) -> None:
        self._remote = remote
        self._executions = {
            start: remote.execute(plan, inputs={"start": start, "seconds": 1.0}) for start in range(executions)
        }
        until(self._begun, "an execution has done some of its steps", END_SECONDS)

    def _begun(self) -> bool:
        synced = self._remote.sync_execution(self._executions[0], sync_nodes=True)
        done = [name for name, node in synced.node_executions.items() if node.closure.phase == NodeExecution.SUCCEEDED]
        return len(done) > LANES

    def end_well(self, attempts: int = 1) -> list[str]:
        """Asserts that all give what they must, each step in at most so many attempts; the hosts that steps ran on."""
        until(lambda: all(map(self._ended, self._executions.values())), "every execution has ended", END_SECONDS)
        hosts: list[str] = []
        for start, execution in self._executions.items():
            ended = self._remote.sync_execution(execution, sync_nodes=True)
            assert ended.error is None, ended.error
            assert ended.outputs.get("total", as_type=int) == LANES * (start + STEPS)
            where = ended.outputs.get("hosts", as_type=list[str])
            assert len(where) == LANES * STEPS
            taken = {name: len(node.task_executions) for name, node in ended.node_executions.items()}
            assert max(taken.values()) <= attempts, f"begun anew: {taken}"
            hosts += where
        return hosts

    def _ended(self, execution: FlyteWorkflowExecution) -> bool:
        try:
            return bool(self._synced(execution).is_done)
        except (FlyteSystemUnavailableException, FlyteSystemException, grpc.RpcError):
            return False  # `admin` is away for a moment

    def _synced(self, execution: FlyteWorkflowExecution) -> FlyteWorkflowExecution:
        return self._remote.sync_execution(execution, sync_nodes=False)


def test_the_sample_gives_what_a_local_run_gives(client: flyte.Client) -> None:
    sample = str(ROOT / "examples/demo.py"), "training_data"
    submitted = client.pyflyte("run", "--remote", *sample)
    assert submitted.returncode == 0, submitted.stdout
    execution = flyte.execution_name(submitted.stdout)
    remote = client.remote()
    flyte.wait(remote, remote.fetch_execution(name=execution))
    compared = subprocess.run(
        [sys.executable, str(ROOT / "examples/compare.py"), str(client.config), execution, *sample],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.returncode == 0, compared.stdout + compared.stderr


def test_one_trace_of_all_services_comes_to_jaeger(kube: Kube, remote: FlyteRemote, lanes: FlyteLaunchPlan) -> None:
    flyte.wait(remote, remote.execute(lanes, inputs={"start": 0, "seconds": 0.0}))
    address = kube("get", "service", "jaeger", "--output=jsonpath={.spec.clusterIP}")

    def seen() -> bool:
        query = f"http://{address}:16686/api/traces?service=airscrew-propeller&limit=20"
        with urllib.request.urlopen(query, timeout=10) as answer:
            traces = json.load(answer)["data"] or ()
        return any(
            {f"airscrew-{service}" for service in SERVICES}
            <= {process["serviceName"] for process in trace["processes"].values()}
            for trace in traces
        )

    until(seen, "a trace with spans of every service", END_SECONDS)


@of_each_service
def test_nothing_is_lost_when_a_pod_is_deleted(
    service: str, kube: Kube, remote: FlyteRemote, lanes: FlyteLaunchPlan
) -> None:
    running = Running(remote, lanes)
    (pod,) = kube.pods(service)
    uid = kube("get", "pod", pod, "--output=jsonpath={.metadata.uid}")
    kube("delete", "pod", pod, "--wait=false")
    running.end_well()
    kube.rolled_out(SERVICES[service])
    (new,) = kube.pods(service)
    assert kube("get", "pod", new, "--output=jsonpath={.metadata.uid}") != uid


@of_each_service
def test_nothing_is_lost_when_a_service_is_replaced_pod_by_pod(
    service: str, kube: Kube, remote: FlyteRemote, lanes: FlyteLaunchPlan
) -> None:
    running = Running(remote, lanes)
    kube("rollout", "restart", SERVICES[service])
    kube.rolled_out(SERVICES[service])
    running.end_well()


@pytest.mark.parametrize("service", ["propeller", "executor"])
def test_nothing_is_lost_when_a_pod_is_given_no_time(
    service: str, kube: Kube, remote: FlyteRemote, lanes: FlyteLaunchPlan
) -> None:
    running = Running(remote, lanes)
    (pod,) = kube.pods(service)
    kube("delete", "pod", pod, "--force", "--grace-period=0")
    running.end_well(attempts=2 if service == "executor" else 1)
    kube.rolled_out(SERVICES[service])


def test_executors_are_scaled_out_and_in_while_they_work(
    kube: Kube, remote: FlyteRemote, lanes: FlyteLaunchPlan
) -> None:
    kube("scale", SERVICES["executor"], "--replicas=3")
    kube.rolled_out(SERVICES["executor"])
    running = Running(remote, lanes)
    kube("scale", SERVICES["executor"], "--replicas=1")
    hosts = Counter(running.end_well())
    assert set(hosts) == {f"airscrew-executor-{number}" for number in range(3)}
    until(lambda: kube.pods("executor") == ["airscrew-executor-0"], "one executor is left", END_SECONDS)
