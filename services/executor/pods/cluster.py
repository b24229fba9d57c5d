"""The Kubernetes API as far as pods need it: a port, and the real thing on lightkube, which only this module imports.

Objects are plain dictionaries, as JSON has them: what a user's pod specification says passes through unchanged, also
where it is newer than any client library. Answers of the server that say no are `Refused`, no answer is `Unreachable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import httpx2
from lightkube import ApiError, KubeConfig
from lightkube.config.client_adapter import ConnectionParams
from lightkube.core.exceptions import ConfigError
from lightkube.core.generic_client import GenericAsyncClient
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import GenericNamespacedResource

from libs.workflow import errors
from services.executor.pods.refusals import Refused, Unreachable

Object = dict[str, Any]

Answer = TypeVar("Answer")

_NOT_FOUND: Final = 404
_CALL_SECONDS: Final = 30.0
_PAGE: Final = 500
_WATCH_SECONDS: Final = 300
"""After so long the server ends a watch, which then goes on where it was: a connection that is dead is not kept."""
_SILENT_SECONDS: Final = 330.0
"""After so long without a word it is given up: the server should have ended it."""


class Cluster(Protocol):
    """Pods of one namespace."""

    namespace: str

    async def create(self, pod: Object) -> Object:
        """The pod as it was taken."""

    async def get(self, name: str) -> Object | None:
        """None when there is none."""

    async def delete(self, name: str, grace_seconds: int | None = None) -> None:
        """Begins to delete a pod, with the grace of its own if none is given. Does nothing when there is none."""

    async def label(self, name: str, labels: Mapping[str, str]) -> None:
        """Does nothing when there is no such pod."""

    async def list(self, selector: str) -> tuple[list[Object], str]:
        """Pods with these labels, and the version from which on to watch."""

    def watch(self, selector: str, version: str) -> AsyncGenerator[tuple[str, Object], None]:
        """What happens to them: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`. Ends when the server ends it; a version
        that is too old is `Refused` with 410.
        """

    async def log(self, name: str, container: str) -> bytes:
        """What a container has printed, as far as its node has kept it; empty when there is nothing."""

    async def pod_template(self, name: str) -> Object | None:
        """A PodTemplate of the namespace; None when there is none."""

    async def stateful_set(self, name: str) -> Object | None:
        """None when there is none."""

    async def close(self) -> None: ...


class _Pod(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", ["delete", "get", "list", "patch", "post", "watch"])


class _PodLog(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", ["get"], ResourceDef("", "v1", "Pod"), "log")


class _PodTemplate(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("", "v1", "PodTemplate"), "podtemplates", ["get"])


class _StatefulSet(GenericNamespacedResource):
    _api_info = ApiInfo(ResourceDef("apps", "v1", "StatefulSet"), "statefulsets", ["get"])


class KubernetesCluster:
    """A real one, on the lower layer of lightkube: its upper one has neither bookmarks nor a limit for logs."""

    def __init__(self, kubeconfig: Path | None = None, namespace: str = "", log_limit_bytes: int = 64 << 20) -> None:
        """Without `kubeconfig`: the pod's service account, else `KUBECONFIG`, else `~/.kube/config`; without
        `namespace`, that of it. Raises FailedPrecondition when there is no such configuration.
        """
        try:
            config = (KubeConfig.from_env() if kubeconfig is None else KubeConfig.from_file(kubeconfig)).get()
            parameters = ConnectionParams(timeout=httpx2.Timeout(_CALL_SECONDS), trust_env=True)
            self._client = GenericAsyncClient(parameters, config, namespace=namespace or None)
        except (ConfigError, OSError) as error:
            raise errors.FailedPrecondition(f"no Kubernetes cluster is configured: {error}") from error
        # It tells of each request; what is worth telling of them, whoever makes them tells.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self.namespace: str = self._client.namespace
        self._log_limit_bytes = log_limit_bytes

    async def create(self, pod: Object) -> Object:
        with _translated():
            return dict(await self._client.request("post", _Pod, _Pod(**pod)))

    async def get(self, name: str) -> Object | None:
        return await self._get(_Pod, name)

    async def delete(self, name: str, grace_seconds: int | None = None) -> None:
        parameters = {"gracePeriodSeconds": grace_seconds}
        await _if_there(self._client.request("delete", _Pod, name=name, params=parameters))

    async def label(self, name: str, labels: Mapping[str, str]) -> None:
        patch = {"metadata": {"labels": labels}}
        headers = {"Content-Type": "application/merge-patch+json"}
        await _if_there(self._client.request("patch", _Pod, patch, name=name, headers=headers))

    async def list(self, selector: str) -> tuple[list[Object], str]:
        request = self._client.prepare_request("list", _Pod, params={"labelSelector": selector, "limit": _PAGE})
        pods: list[Object] = []
        version = ""
        with _translated():
            async for page_version, page in self._client.list_chunks(request):
                pods.extend(map(dict, page))
                version = page_version or ""
        return pods, version

    async def watch(self, selector: str, version: str) -> AsyncGenerator[tuple[str, Object], None]:
        parameters = {
            "labelSelector": selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": _WATCH_SECONDS,
        }
        request = self._client.prepare_request("list", _Pod, watch=True, params=parameters)
        with _translated():
            async with contextlib.aclosing(self._client.watch(request)) as events:
                while True:
                    async with asyncio.timeout(_SILENT_SECONDS):
                        event = await anext(events, None)
                    if event is None:
                        return
                    yield event[0], dict(event[1])

    async def log(self, name: str, container: str) -> bytes:
        parameters = {"container": container, "limitBytes": self._log_limit_bytes}
        request = self._client.prepare_request("get", _PodLog, name=name, params=parameters)
        return await _if_there(self._text(self._client.build_adapter_request(request))) or b""

    async def pod_template(self, name: str) -> Object | None:
        return await self._get(_PodTemplate, name)

    async def stateful_set(self, name: str) -> Object | None:
        return await self._get(_StatefulSet, name)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _get(self, kind: type[GenericNamespacedResource], name: str) -> Object | None:
        found = await _if_there(self._client.request("get", kind, name=name))
        return None if found is None else dict(found)

    async def _text(self, request: httpx2.Request) -> bytes:
        response: httpx2.Response = await self._client.send(request)  # type: ignore[no-untyped-call]
        self._client.raise_for_status(response)  # type: ignore[no-untyped-call]
        return response.content


async def _if_there(call: Awaitable[Answer]) -> Answer | None:
    """What `call` answers; None where there is nothing of the name."""
    try:
        with _translated():
            return await call
    except Refused as error:
        if error.status != _NOT_FOUND:
            raise
        return None


def _refused(response: httpx2.Response) -> Refused:
    """What was answered, if it was by the API server. Whoever is in front of that answers in text."""
    try:
        text = response.text
    except httpx2.ResponseNotRead:  # of a watch that did not begin
        text = ""
    with contextlib.suppress(ValueError):
        body = json.loads(text)
        if isinstance(body, dict) and body.get("kind") == "Status":
            return Refused(response.status_code, str(body.get("reason") or ""), str(body.get("message") or ""))
    return Refused(response.status_code, "", text[:500] or response.reason_phrase)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The client's exceptions as those of the port."""
    try:
        yield
    except ApiError as error:
        status = error.status  # of an event of a watch there is no response
        raise Refused(status.code or 0, status.reason or "", status.message or "") from error
    except httpx2.HTTPStatusError as error:
        raise _refused(error.response) from error
    except (httpx2.HTTPError, TimeoutError) as error:
        raise Unreachable(f"the Kubernetes API does not answer: {str(error) or type(error).__name__}") from error
    except ConfigError as error:
        raise Unreachable(f"the Kubernetes API takes no credentials of ours: {error}") from error
