"""What a node does to pods, done by a test: binds them, says how their containers are, ends them.

It speaks to any Kubernetes API, real (whose own nodes must leave these pods alone) or fake: a status is patched as a
kubelet patches it. A pod that is bound and deleted stays until its node says that nothing of it runs, which is
`let_go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2
from lightkube import KubeConfig
from lightkube.config.client_adapter import ConnectionParams
from lightkube.core.generic_client import GenericAsyncClient
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import GenericNamespacedResource

from tests.support.kubernetes import FakeKubernetes

WAIT_SECONDS: Final = 20.0
NODE: Final = "node-1"
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}


class _Pod(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", ["delete", "get", "list", "patch", "post"])


class _Status(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", ["patch"], ResourceDef("", "v1", "Pod"), "status")


class _Binding(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "Binding"), "pods", ["post"], ResourceDef("", "v1", "Pod"), "binding")


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Kubelet:
    """All nodes of a namespace."""

    def __init__(self, kubeconfig: Path, namespace: str, fake: FakeKubernetes | None = None) -> None:
        self._fake = fake
        parameters = ConnectionParams(timeout=httpx2.Timeout(WAIT_SECONDS), trust_env=False)
        self._client = GenericAsyncClient(parameters, KubeConfig.from_file(kubeconfig).get(), namespace=namespace)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    # ------------------------------------------------------------------------------------------------ what there is

    async def pods(self) -> list[dict[str, Any]]:
        request = self._client.prepare_request("list", _Pod)
        return [dict(pod) async for _, page in self._client.list_chunks(request) for pod in page]

    async def pod_of(self, node_id: str) -> dict[str, Any]:
        """The pod of a node's attempt, as soon as there is one."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for pod in await self.pods():
                    if pod["metadata"]["labels"].get("node-id") == node_id:
                        return pod
                await asyncio.sleep(0.02)

    async def none_left(self) -> None:
        """Returns when there is no pod."""
        async with asyncio.timeout(WAIT_SECONDS):
            while await self.pods():
                await asyncio.sleep(0.02)

    async def seen(self, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The pod, as soon as it is so."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition(pod := dict(await self._client.request("get", _Pod, name=name))):
                await asyncio.sleep(0.02)
        return pod

    async def deleted(self, name: str) -> dict[str, Any]:
        """The pod, as soon as somebody has begun to delete it while it runs."""
        return await self.seen(name, lambda pod: bool(pod["metadata"].get("deletionTimestamp")))

    # --------------------------------------------------------------------------------------------------- what it does

    async def make(self, pod: dict[str, Any]) -> None:
        await self._client.request("post", _Pod, _Pod(**pod))

    async def bind(self, pod: dict[str, Any]) -> str:
        """A node has it. Returns its name."""
        name: str = pod["metadata"]["name"]
        if self._fake is not None:  # which has no scheduler to bind for
            self._fake.become(name, {})
            return name
        node = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding: dict[str, Any] = {"metadata": {"name": name}, "target": node}
        await self._client.request("post", _Binding, _Binding(**binding), name=name)
        return name

    async def say(self, name: str, **status: Any) -> None:
        """The pod's status is so now; what is not named stays."""
        await self._client.request("patch", _Status, {"status": status}, name=name, headers=_MERGE)

    async def waits(self, name: str, reason: str, message: str = "", container: str = "primary") -> None:
        """A container cannot be started yet."""
        waiting = {"waiting": {"reason": reason, "message": message}}
        await self.say(name, phase="Pending", startTime=now(), containerStatuses=[_status(container, waiting)])

    async def runs(self, name: str, *containers: str) -> None:
        """Its containers run."""
        running = {"running": {"startedAt": now()}}
        statuses = [_status(container, running) for container in containers or ("primary",)]
        await self.say(name, phase="Running", startTime=now(), containerStatuses=statuses)

    async def ends(
        self,
        name: str,
        code: int = 0,
        reason: str = "",
        message: str = "",
        beside: tuple[str, ...] = (),
        phase: str = "",
    ) -> None:
        """The primary container has ended; containers `beside` it run on, or else the pod has ended too."""
        ended = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "message": message,
            "startedAt": now(),
            "finishedAt": now(),
        }
        statuses = [_status("primary", {"terminated": ended})]
        statuses += [_status(each, {"running": {"startedAt": now()}}) for each in beside]
        phase = phase or ("Running" if beside else "Failed" if code else "Succeeded")
        await self.say(name, phase=phase, containerStatuses=statuses)

    async def delete(self, name: str) -> None:
        """Somebody deletes it; one that a node has waits for that."""
        await self._client.request("delete", _Pod, name=name)

    async def let_go(self, name: str) -> None:
        """Its node says that nothing of it runs."""
        try:
            await self._client.request("delete", _Pod, name=name, params={"gracePeriodSeconds": 0})
        except httpx2.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise


def _status(container: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": container,
        "state": state,
        "image": "image",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
    }
