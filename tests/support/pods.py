"""A Kubernetes API for tests of pods: a namespace of their own, and the nodes of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lightkube import ApiError, KubeConfig
from lightkube.config.client_adapter import ConnectionParams
from lightkube.core.generic_client import GenericAsyncClient
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource

from tests.support.kubelet import Kubelet

KUBECONFIG = os.environ.get("AIRSCREW_TEST_KUBECONFIG", "")
"""How to reach a real API server without nodes and controllers, if there is one."""

_QUOTA = ResourceDef("", "v1", "ResourceQuota")


class _Namespace(GenericGlobalResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "Namespace"), "namespaces", ["post", "delete"])


class _Quota(GenericNamespacedResource):
    _api_info = ApiInfo(_QUOTA, "resourcequotas", ["post"])


class _QuotaStatus(GenericNamespacedResource):
    _api_info = ApiInfo(_QUOTA, "resourcequotas", ["patch"], _QUOTA, "status")


@dataclass
class Place:
    """Where pods are made."""

    kubeconfig: Path
    namespace: str
    kubelet: Kubelet
    client: GenericAsyncClient

    async def quota(self, hard: dict[str, str], used: dict[str, str] | None = None) -> None:
        """Limits the namespace, and says what of it is used, as its controller would."""
        name = "quota"
        quota: dict[str, Any] = {"metadata": {"name": name}, "spec": {"hard": hard}}
        try:
            await self.client.request("post", _Quota, _Quota(**quota))
        except ApiError as error:
            if error.status.code != 409:
                raise
        status = {"status": {"hard": hard, "used": used or dict.fromkeys(hard, "0")}}
        headers = {"Content-Type": "application/merge-patch+json"}
        await self.client.request("patch", _QuotaStatus, status, name=name, headers=headers)


@pytest.fixture(params=["real"])
async def kubernetes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A namespace that is empty."""
    if not KUBECONFIG:
        pytest.skip("AIRSCREW_TEST_KUBECONFIG names no API server")
    kubeconfig, namespace = Path(KUBECONFIG), f"test-{uuid.uuid4().hex[:10]}"
    parameters = ConnectionParams(timeout=httpx2.Timeout(20.0), trust_env=False)
    client = GenericAsyncClient(parameters, KubeConfig.from_file(kubeconfig).get(), namespace=namespace)
    wanted: dict[str, Any] = {"metadata": {"name": namespace}}
    await client.request("post", _Namespace, _Namespace(**wanted))
    kubelet = Kubelet(kubeconfig, namespace)
    yield Place(kubeconfig, namespace, kubelet, client)
    await kubelet.close()
    await client.request("delete", _Namespace, name=namespace)
    await client.close()  # type: ignore[no-untyped-call]


def env_of(pod: dict[str, Any], container: str = "primary") -> dict[str, str]:
    """The variables of a container, those with a value of their own."""
    found = next(each for each in pod["spec"]["containers"] if each["name"] == container)
    return {pair["name"]: pair.get("value", "") for pair in found["env"]}
