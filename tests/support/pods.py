"""A Kubernetes API for tests of pods: a namespace of their own, and the nodes of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lightkube import KubeConfig
from lightkube.config.client_adapter import ConnectionParams
from lightkube.core.generic_client import GenericAsyncClient
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource

from libs.workflow.backend import Backend
from services.executor import backlog
from services.executor.pods import reaper, turnstile
from tests.support.kube_apiserver import SERVERS
from tests.support.kubelet import Kubelet
from tests.support.kubernetes import NAMESPACE, FakeKubernetes

_QUOTA = ResourceDef("", "v1", "ResourceQuota")


class _Namespace(GenericGlobalResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "Namespace"), "namespaces", ["post", "delete"])


class _Quota(GenericNamespacedResource):
    _api_info = ApiInfo(_QUOTA, "resourcequotas", ["post"])


class _QuotaStatus(GenericNamespacedResource):
    _api_info = ApiInfo(_QUOTA, "resourcequotas", ["patch"], _QUOTA, "status")


class _PodTemplate(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "PodTemplate"), "podtemplates", ["post"])


_LEFT_ALONE: dict[str, Any] = {
    "metadata": {"name": "left-alone"},
    "template": {"spec": {"schedulerName": "nobody", "containers": [{"name": "default", "image": "any"}]}},
}
"""Pods that no scheduler takes, so that a cluster's own nodes leave them to the test's."""


@dataclass
class Place:
    """Where pods are made."""

    kubeconfig: Path
    namespace: str
    kubelet: Kubelet
    client: GenericAsyncClient
    template: str = ""
    """The PodTemplate that pods are to be made from."""

    @property
    def settings(self) -> dict[str, Any]:
        """What an executor is told that makes its pods here."""
        return {
            "task_backend": Backend.POD,
            "id": "executor-0",
            "pod_kubeconfig": self.kubeconfig,
            "pod_namespace": self.namespace,
            "pod_template": self.template,
            "pod_keep_failed_seconds": 0.0,
        }

    async def quota(self, hard: dict[str, str], used: dict[str, str] | None = None) -> None:
        """Limits the namespace, and says what of it is used, as its controller would."""
        name = "quota"
        quota: dict[str, Any] = {"metadata": {"name": name}, "spec": {"hard": hard}}
        try:
            await self.client.request("post", _Quota, _Quota(**quota))
        except httpx2.HTTPStatusError as error:
            if error.response.status_code != 409:
                raise
        status = {"status": {"hard": hard, "used": used or dict.fromkeys(hard, "0")}}
        headers = {"Content-Type": "application/merge-patch+json"}
        await self.client.request("patch", _QuotaStatus, status, name=name, headers=headers)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for as long as he does for a real cluster."""
    monkeypatch.setattr(turnstile, "_WAIT_SECONDS", (0.1, 1.0))
    monkeypatch.setattr(turnstile, "_SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(reaper, "_AGAIN_SECONDS", (0.1, 1.0))
    monkeypatch.setattr(backlog, "WAIT_SECONDS", 0.1)


@pytest.fixture
async def fake_kubernetes() -> AsyncIterator[FakeKubernetes]:
    """An API server that does as it is told."""
    async with FakeKubernetes() as fake:
        yield fake


@pytest.fixture(params=SERVERS)
async def kubernetes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A namespace that is empty, of a fake cluster and of a real one, if there is one."""
    if request.param == "fake":
        async with FakeKubernetes() as fake, _place(fake.kubeconfig(tmp_path), NAMESPACE, fake) as place:
            yield place
    else:
        namespace = f"test-{uuid.uuid4().hex[:10]}"
        async with _place(request.getfixturevalue("real_kubeconfig"), namespace, None) as place:
            wanted: dict[str, Any] = {"metadata": {"name": namespace}}
            await place.client.request("post", _Namespace, _Namespace(**wanted))
            await place.client.request("post", _PodTemplate, _PodTemplate(**_LEFT_ALONE))
            place.template = _LEFT_ALONE["metadata"]["name"]
            yield place
            await place.client.request("delete", _Namespace, name=namespace)


@asynccontextmanager
async def _place(kubeconfig: Path, namespace: str, fake: FakeKubernetes | None) -> AsyncIterator[Place]:
    parameters = ConnectionParams(timeout=httpx2.Timeout(20.0), trust_env=False)
    client = GenericAsyncClient(parameters, KubeConfig.from_file(kubeconfig).get(), namespace=namespace)
    kubelet = Kubelet(kubeconfig, namespace, fake)
    try:
        yield Place(kubeconfig, namespace, kubelet, client)
    finally:
        await kubelet.close()
        await client.close()  # type: ignore[no-untyped-call]


def env_of(pod: dict[str, Any], container: str = "primary") -> dict[str, str]:
    """The variables of a container, those with a value of their own."""
    found = next(each for each in pod["spec"]["containers"] if each["name"] == container)
    return {pair["name"]: pair.get("value", "") for pair in found["env"]}
