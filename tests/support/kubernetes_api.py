"""The API of Kubernetes as it is on the wire, the fake one and a real one, in a namespace of a test's own."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.support.kube_apiserver import SERVERS
from tests.support.kubernetes import NAMESPACE, FakeKubernetes

Object = dict[str, Any]

_numbers = itertools.count()


class Api:
    """A client that hides nothing."""

    def __init__(self, session: aiohttp.ClientSession, url: str, namespace: str) -> None:
        self._session = session
        self._url = url
        self.namespace = namespace

    async def call(
        self, method: str, path: str, body: Object | None = None, type: str = "application/json", **query: Any
    ) -> tuple[int, Any]:
        """`path` is relative to the namespace."""
        data = None if body is None else json.dumps(body)
        url = f"{self._url}/api/v1/namespaces/{self.namespace}/{path}"
        headers = {"Content-Type": type}
        async with self._session.request(method, url, data=data, headers=headers, params=query) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith("{") else text

    async def done(self, method: str, path: str, body: Object | None = None, **query: Any) -> Any:
        """As `call`, for what must succeed."""
        code, answer = await self.call(method, path, body, **query)
        assert code < 300, answer
        return answer

    async def refused(self, method: str, path: str, body: Object | None = None, **query: Any) -> Object:
        """As `call`, for what must not: the Status, which says the same as HTTP."""
        code, answer = await self.call(method, path, body, **query)
        assert (answer["kind"], answer["status"], answer["code"]) == ("Status", "Failure", code)
        return answer  # type: ignore[no-any-return]

    async def patch(self, path: str, body: Object) -> Any:
        code, answer = await self.call("PATCH", path, body, "application/merge-patch+json")
        assert code == 200, answer
        return answer

    @asynccontextmanager
    async def watch(self, plural: str = "pods", **query: Any) -> AsyncIterator[AsyncIterator[tuple[str, Object]]]:
        """The events of a watch."""
        url = f"{self._url}/api/v1/namespaces/{self.namespace}/{plural}"
        async with self._session.get(url, params={"watch": "true", **query}) as response:
            yield self._events(response)

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Object]]:
        if response.status != 200:
            yield "ERROR", await response.json()
            return
        async for line in response.content:
            event = json.loads(line)
            yield event["type"], event["object"]


async def next_of(events: AsyncIterator[tuple[str, Object]]) -> tuple[str, Object]:
    return await asyncio.wait_for(anext(events), 20)


async def without_bookmarks(events: AsyncIterator[tuple[str, Object]]) -> tuple[str, str, str]:
    """Type, name and version of the next event about a pod."""
    while True:
        type, thing = await next_of(events)
        if type != "BOOKMARK":
            return type, thing["metadata"]["name"], thing["metadata"]["resourceVersion"]


@pytest_asyncio.fixture(params=SERVERS)
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    if request.param == "fake":
        async with FakeKubernetes(bookmark_seconds=0.05) as fake, aiohttp.ClientSession() as session:
            yield Api(session, fake.url, NAMESPACE)
        return
    url, session_options = _credentials(request.getfixturevalue("real_kubeconfig"))
    async with aiohttp.ClientSession(**session_options) as session:
        namespace = f"contract-{os.getpid()}-{next(_numbers)}"
        api = Api(session, url, namespace)
        async with session.post(f"{url}/api/v1/namespaces", json={"metadata": {"name": namespace}}) as response:
            assert response.status == 201, await response.text()
        # Where a controller would make it, pods have to wait for it.
        await api.call("POST", "serviceaccounts", {"metadata": {"name": "default"}})
        yield api
        async with session.delete(f"{url}/api/v1/namespaces/{namespace}"):
            pass


def _credentials(path: Path) -> tuple[str, dict[str, Any]]:
    """Address and credentials of the first cluster and user of a kubeconfig."""
    config = yaml.safe_load(path.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"),
        cadata=base64.b64decode(cluster.get("certificate-authority-data", "")).decode() or None,
    )
    if "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    elif "client-certificate-data" in user:
        with tempfile.NamedTemporaryFile() as both:  # it is read from files only
            for part in ("client-certificate-data", "client-key-data"):
                both.write(base64.b64decode(user[part]))
            both.flush()
            context.load_cert_chain(both.name)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return cluster["server"], {"connector": aiohttp.TCPConnector(ssl=context), "headers": headers}


CONTAINER: Object = {"name": "main", "image": "busybox"}


def pod(name: str = "one", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """A pod that no scheduler takes."""
    container = {"name": "main", "image": "busybox"}
    whole = {"schedulerName": "nobody", "containers": [container], "restartPolicy": "Never"} | spec
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": whole,
    }


async def version(api: Api) -> str:
    return str((await api.done("GET", "pods"))["metadata"]["resourceVersion"])
