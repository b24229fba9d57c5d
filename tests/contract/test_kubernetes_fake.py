"""What `tests.support.kubernetes` does when a test wants it to, and no test can make a real API server do."""

from __future__ import annotations

import aiohttp
import pytest

from tests.support.kubernetes import NAMESPACE, FakeKubernetes
from tests.support.kubernetes_api import Api, next_of, pod, version, without_bookmarks


async def test_on_demand_it_has_too_much_to_do_and_says_when_to_come_back() -> None:
    async with FakeKubernetes() as fake, aiohttp.ClientSession() as session:
        api = Api(session, fake.url, NAMESPACE)
        fake.too_many_requests(retry_after=7, times=2)
        for _ in range(2):
            async with session.get(f"{fake.url}/api/v1/namespaces/{NAMESPACE}/pods") as response:
                status = await response.json()
                assert (response.status, response.headers["Retry-After"]) == (429, "7")
            assert (status["reason"], status["details"]) == ("TooManyRequests", {"retryAfterSeconds": 7})
        assert (await api.done("POST", "pods", pod()))["kind"] == "Pod"


async def test_on_demand_it_ends_watches_and_forgets_what_was() -> None:
    async with FakeKubernetes() as fake, aiohttp.ClientSession() as session:
        api = Api(session, fake.url, NAMESPACE)
        since = await version(api)
        async with api.watch(resourceVersion=since) as events:
            await api.done("POST", "pods", pod())
            assert (await without_bookmarks(events))[:2] == ("ADDED", "one")
            fake.end_watches()
            assert [each async for each in events] == []
        fake.objects.forget_changes()
        async with api.watch(resourceVersion=since) as events:
            assert (await next_of(events))[1]["code"] == 410


async def test_a_test_is_its_scheduler_and_its_node() -> None:
    async with FakeKubernetes() as fake, aiohttp.ClientSession() as session:
        api = Api(session, fake.url, NAMESPACE)
        await api.done("POST", "pods", pod())
        fake.become("one", {"phase": "Running"}, node="node-7")
        fake.print("one", "main", b"first\nlast\n")
        assert (await api.done("GET", "pods/one"))["spec"]["nodeName"] == "node-7"
        assert await api.call("GET", "pods/one/log", tailLines="1") == (200, "last\n")
        await api.done("DELETE", "pods/one")
        assert fake.pod("one")["metadata"]["deletionGracePeriodSeconds"] == 30
        fake.let_go("one")
        assert fake.pods() == []


async def test_it_comes_back_where_it_was_with_what_it_had() -> None:
    async with FakeKubernetes() as fake, aiohttp.ClientSession() as session:
        api = Api(session, fake.url, NAMESPACE)
        await api.done("POST", "pods", pod())
        await fake.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await api.done("GET", "pods/one")
        await fake.start()
        assert (await api.done("GET", "pods/one"))["metadata"]["name"] == "one"
