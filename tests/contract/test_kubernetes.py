"""What an API server of Kubernetes promises to those who run pods, of the real one and of `tests.support.kubernetes`.

The real one has no node for these pods: where a node would speak, the test patches the status.
"""

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

from tests.support.kube_apiserver import CLUSTER, SERVERS
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


# -------------------------------------------------------------------------------------------------------------- objects


async def test_a_pod_is_taken_pending_with_an_identity_a_version_and_defaults(api: Api) -> None:
    code, made = await api.call("POST", "pods", pod(labels={"a": "b"}))
    assert code == 201
    meta = made["metadata"]
    assert (made["kind"], made["apiVersion"]) == ("Pod", "v1")
    assert (meta["namespace"], meta["labels"]) == (api.namespace, {"a": "b"})
    assert meta["uid"]
    assert meta["creationTimestamp"].endswith("Z")
    assert int(meta["resourceVersion"]) > 0
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["spec"]["terminationGracePeriodSeconds"] == 30
    assert made["spec"]["containers"][0]["terminationMessagePolicy"] == "File"
    assert await api.done("GET", "pods/one") == made


async def test_a_pod_template_has_the_defaults_of_a_pod(api: Api) -> None:
    spec = {"containers": [{"name": "default", "image": "anything"}, {"name": "primary", "image": "anything:1"}]}
    wanted = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "one"}, "template": {"spec": spec}}
    made = (await api.done("POST", "podtemplates", wanted))["template"]["spec"]
    assert made["terminationGracePeriodSeconds"] == 30
    assert [each["imagePullPolicy"] for each in made["containers"]] == ["Always", "IfNotPresent"]
    assert {each["terminationMessagePolicy"] for each in made["containers"]} == {"File"}


async def test_a_name_is_taken_once(api: Api) -> None:
    first = await api.done("POST", "pods", pod())
    status = await api.refused("POST", "pods", pod())
    assert (status["code"], status["reason"]) == (409, "AlreadyExists")
    assert status["message"] == 'pods "one" already exists'
    assert status["details"] == {"name": "one", "kind": "pods"}
    assert (await api.done("GET", "pods/one"))["metadata"]["uid"] == first["metadata"]["uid"]


async def test_a_name_may_be_made_up_by_the_server(api: Api) -> None:
    wanted = pod()
    wanted["metadata"] = {"generateName": "some-"}
    names = {(await api.done("POST", "pods", wanted))["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("some-") and len(name) > 5 for name in names)


@pytest.mark.parametrize(("method", "path"), [("GET", "pods/none"), ("DELETE", "pods/none"), ("GET", "pods/none/log")])
async def test_what_is_not_there_is_not_found_by_name(api: Api, method: str, path: str) -> None:
    status = await api.refused(method, path)
    assert (status["code"], status["reason"], status["message"]) == (404, "NotFound", 'pods "none" not found')
    assert status["details"] == {"name": "none", "kind": "pods"}


async def test_a_namespace_that_is_not_there_takes_nothing_and_lists_nothing(api: Api) -> None:
    api.namespace = "nowhere"
    status = await api.refused("POST", "pods", pod())
    assert (status["code"], status["reason"]) == (404, "NotFound")
    assert status["message"] == 'namespaces "nowhere" not found'
    assert (await api.done("GET", "pods"))["items"] == []


CONTAINER = {"name": "main", "image": "busybox"}
INVALID: list[tuple[Object, str]] = [
    (pod("No_Name"), "metadata.name"),
    (pod(labels={"a": "b c"}), "metadata.labels"),
    (pod(labels={"a b": "c"}), "metadata.labels"),
    (pod(containers=[]), "spec.containers"),
    (pod(containers=[{"name": "Main", "image": "i"}]), "spec.containers[0].name"),
    (pod(containers=[CONTAINER, CONTAINER]), "spec.containers[1].name"),
    (pod(containers=[{"name": "main"}]), "spec.containers[0].image"),
    (
        pod(containers=[{**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]),
        "spec.containers[0].volumeMounts[0].name",
    ),
    (
        pod(containers=[{**CONTAINER, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]),
        "spec.containers[0].resources.requests",
    ),
    (pod(restartPolicy="Sometimes"), "spec.restartPolicy"),
]


@pytest.mark.parametrize(("wanted", "field"), INVALID, ids=lambda each: each if isinstance(each, str) else "")
async def test_an_invalid_pod_is_refused_with_the_field(api: Api, wanted: Object, field: str) -> None:
    status = await api.refused("POST", "pods", wanted)
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["details"]["kind"] == "Pod"
    assert field in [cause["field"] for cause in status["details"]["causes"]]
    assert status["message"].startswith(f'Pod "{wanted["metadata"]["name"]}" is invalid: ')
    assert field in status["message"]


async def test_what_cannot_be_read_is_a_bad_request(api: Api) -> None:
    amount = {"requests": {"cpu": "much"}}
    for body in (pod(containers=[{**CONTAINER, "resources": amount}]), {"kind": "Pod", "spec": 3}):
        status = await api.refused("POST", "pods", body)
        assert (status["code"], status["reason"]) == (400, "BadRequest")


# ---------------------------------------------------------------------------------------------------------------- lists


async def test_a_list_is_what_the_selector_lets_through_at_one_version(api: Api) -> None:
    for name, labels in (("a", {"x": "1", "y": "1"}), ("b", {"x": "2"}), ("c", {})):
        await api.done("POST", "pods", pod(name, labels))
    last = (await api.done("GET", "pods/c"))["metadata"]["resourceVersion"]
    expected = {
        "": ["a", "b", "c"],
        "x=1": ["a"],
        "x==2": ["b"],
        "x!=1": ["b", "c"],
        "x": ["a", "b"],
        "!x": ["c"],
        "x in (1,2),y": ["a"],
        "x notin (1)": ["b", "c"],
    }
    for selector, names in expected.items():
        found = await api.done("GET", "pods", labelSelector=selector)
        assert [each["metadata"]["name"] for each in found["items"]] == names, selector
        assert int(found["metadata"]["resourceVersion"]) >= int(last)
        assert (found["kind"], found["apiVersion"]) == ("PodList", "v1")
        assert all("kind" not in each for each in found["items"])


async def test_a_selector_that_makes_no_sense_is_a_bad_request(api: Api) -> None:
    assert (await api.refused("GET", "pods", labelSelector="a b"))["reason"] == "BadRequest"


async def test_a_long_list_comes_in_pages(api: Api) -> None:
    for name in "abcde":
        await api.done("POST", "pods", pod(name))
    names: list[str] = []
    query: dict[str, Any] = {"limit": "2"}
    for _ in range(3):
        page = await api.done("GET", "pods", **query)
        names.append("".join(each["metadata"]["name"] for each in page["items"]))
        query["continue"] = page["metadata"].get("continue", "")
    assert (names, query["continue"]) == (["ab", "cd", "e"], "")


# -------------------------------------------------------------------------------------------------------------- watches


async def test_a_watch_tells_all_that_happens_after_its_version_in_order(api: Api) -> None:
    await api.done("POST", "pods", pod("before"))
    since = await version(api)
    made = await api.done("POST", "pods", pod())
    changed = await api.patch("pods/one/status", {"status": {"phase": "Running"}})
    async with api.watch(resourceVersion=since) as events:
        assert await without_bookmarks(events) == ("ADDED", "one", made["metadata"]["resourceVersion"])
        assert await without_bookmarks(events) == ("MODIFIED", "one", changed["metadata"]["resourceVersion"])
        await api.done("DELETE", "pods/one")
        versions = [changed["metadata"]["resourceVersion"]]
        for expected in ("MODIFIED", "DELETED"):  # that it is to go, and that it is gone
            type, name, at = await without_bookmarks(events)
            assert (type, name) == (expected, "one")
            versions.append(at)
        assert versions == sorted(set(versions), key=int), "versions grow"
        await api.done("POST", "pods", pod("after"))
        assert (await without_bookmarks(events))[:2] == ("ADDED", "after")


async def test_a_watch_without_a_version_begins_with_what_there_is(api: Api) -> None:
    await api.done("POST", "pods", pod("before"))
    async with api.watch() as events:
        assert (await without_bookmarks(events))[:2] == ("ADDED", "before")
        await api.done("POST", "pods", pod("after"))
        assert (await without_bookmarks(events))[:2] == ("ADDED", "after")


async def test_to_a_watch_an_object_comes_and_goes_with_its_labels(api: Api) -> None:
    since = await version(api)
    await api.done("POST", "pods", pod(labels={"x": "2"}))
    async with api.watch(resourceVersion=since, labelSelector="x=1") as events:
        for labels, expected in (("1", "ADDED"), ("2", "DELETED")):
            changed = await api.patch("pods/one", {"metadata": {"labels": {"x": labels}}})
            told = await without_bookmarks(events)
            assert told == (expected, "one", changed["metadata"]["resourceVersion"])


async def test_a_watch_may_ask_to_be_told_where_it_stands_and_goes_on_from_there(api: Api) -> None:
    since = await version(api)
    mine = {"labelSelector": "mine", "allowWatchBookmarks": "true"}
    async with api.watch(resourceVersion=since, timeoutSeconds="4", **mine) as events:
        other = await api.done("POST", "pods", pod())  # of which this watch has nothing to tell
        type, thing = await next_of(events)
    assert (type, thing["kind"]) == ("BOOKMARK", "Pod")
    at = thing["metadata"]["resourceVersion"]
    assert int(at) >= int(other["metadata"]["resourceVersion"]) > int(since)
    await api.done("POST", "pods", pod("two", labels={"mine": ""}))
    async with api.watch(resourceVersion=at, **mine) as events:
        assert (await without_bookmarks(events))[:2] == ("ADDED", "two")


async def test_a_watch_ends_in_its_time(api: Api) -> None:
    async with api.watch(resourceVersion=await version(api), timeoutSeconds="1") as events:
        assert [each async for each in events] == []


async def test_a_version_that_is_too_old_is_gone(api: Api) -> None:
    if CLUSTER in os.environ and api.namespace != NAMESPACE:
        code, _ = await api.call("GET", "pods", resourceVersion="1", resourceVersionMatch="Exact")
        if code == 200:
            pytest.skip("this cluster has forgotten nothing yet: an API server begins to after ten minutes")
    async with api.watch(resourceVersion="1") as events:
        type, status = await next_of(events)
        assert (type, status["kind"], status["code"], status["reason"]) == ("ERROR", "Status", 410, "Expired")
        assert "too old resource version" in status["message"]
        assert [each async for each in events] == [], "that is the end"


# ------------------------------------------------------------------------------------------------------------- deletion


async def test_a_pod_that_no_node_has_is_deleted_at_once(api: Api) -> None:
    made = await api.done("POST", "pods", pod())
    last = await api.done("DELETE", "pods/one")
    assert (last["kind"], last["metadata"]["uid"]) == ("Pod", made["metadata"]["uid"])
    assert (await api.refused("GET", "pods/one"))["reason"] == "NotFound"


async def test_a_pod_on_a_node_is_gone_when_its_node_says_so(api: Api) -> None:
    await api.done("POST", "pods", pod(nodeName="no-such-node"))
    await api.patch("pods/one/status", {"status": {"phase": "Running"}})
    since = await version(api)
    marked = await api.done("DELETE", "pods/one", gracePeriodSeconds="20")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
    assert marked["metadata"]["deletionTimestamp"] > marked["metadata"]["creationTimestamp"]
    assert (await api.done("GET", "pods/one"))["metadata"]["deletionTimestamp"] == marked["metadata"][
        "deletionTimestamp"
    ]
    again = await api.done("DELETE", "pods/one", {"gracePeriodSeconds": 5})
    assert again["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = await api.done("DELETE", "pods/one", {"gracePeriodSeconds": 60})
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
    await api.done("DELETE", "pods/one", {"gracePeriodSeconds": 0})
    assert (await api.refused("GET", "pods/one"))["reason"] == "NotFound"
    async with api.watch(resourceVersion=since) as events:
        told = [(await without_bookmarks(events))[0] for _ in range(4)]
        assert told == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"], "each shorter grace, then the end"


async def test_without_a_grace_of_its_own_a_deletion_has_that_of_the_pod(api: Api) -> None:
    await api.done("POST", "pods", pod(nodeName="no-such-node", terminationGracePeriodSeconds=77))
    marked = await api.done("DELETE", "pods/one")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 77


async def test_a_pod_that_has_ended_needs_no_grace(api: Api) -> None:
    await api.done("POST", "pods", pod(nodeName="no-such-node"))
    await api.patch("pods/one/status", {"status": {"phase": "Failed"}})
    await api.done("DELETE", "pods/one")
    assert (await api.refused("GET", "pods/one"))["reason"] == "NotFound"


async def test_only_the_object_that_is_meant_is_deleted(api: Api) -> None:
    await api.done("POST", "pods", pod())
    options = {"preconditions": {"uid": "another"}}
    status = await api.refused("DELETE", "pods/one", options)
    assert (status["code"], status["reason"]) == (409, "Conflict")
    await api.done("GET", "pods/one")


async def test_a_finalizer_keeps_an_object_until_it_is_taken_away(api: Api) -> None:
    wanted = pod()
    wanted["metadata"]["finalizers"] = ["example.com/keep"]
    await api.done("POST", "pods", wanted)
    await api.done("DELETE", "pods/one")
    assert (await api.done("GET", "pods/one"))["metadata"]["deletionTimestamp"]
    await api.patch("pods/one", {"metadata": {"finalizers": None}})
    assert (await api.refused("GET", "pods/one"))["reason"] == "NotFound"


# -------------------------------------------------------------------------------------------------------------- changes


async def test_a_merge_patch_adds_changes_and_takes_away(api: Api) -> None:
    made = await api.done("POST", "pods", pod(labels={"a": "1", "b": "2"}))
    changed = await api.patch("pods/one", {"metadata": {"labels": {"a": None, "b": "3", "c": "4"}}})
    assert changed["metadata"]["labels"] == {"b": "3", "c": "4"}
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert changed["spec"] == made["spec"]
    same = await api.patch("pods/one", {"metadata": {"labels": {"b": "3"}}})
    assert same["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"], "nothing has changed"


async def test_a_patch_of_another_version_conflicts(api: Api) -> None:
    made = await api.done("POST", "pods", pod())
    await api.patch("pods/one", {"metadata": {"labels": {"a": "1"}}})
    stale = {"metadata": {"labels": {"a": "2"}, "resourceVersion": made["metadata"]["resourceVersion"]}}
    code, status = await api.call("PATCH", "pods/one", stale, "application/merge-patch+json")
    assert (code, status["reason"]) == (409, "Conflict")


async def test_status_and_the_rest_are_changed_apart(api: Api) -> None:
    await api.done("POST", "pods", pod())
    both = {"metadata": {"labels": {"a": "1"}}, "status": {"phase": "Running", "message": "m"}}
    changed = await api.patch("pods/one", both)
    assert (changed["status"]["phase"], changed["metadata"]["labels"]) == ("Pending", {"a": "1"})
    states = [
        {
            "name": "main",
            "image": "i",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": {"exitCode": 3}},
        }
    ]
    ended = await api.patch("pods/one/status", {"status": {"phase": "Failed", "containerStatuses": states}})
    assert ended["status"]["phase"] == "Failed"
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert ended["spec"] == changed["spec"]


async def test_what_a_pod_runs_is_not_changed(api: Api) -> None:
    await api.done("POST", "pods", pod())
    patch = {"spec": {"containers": [{**CONTAINER, "command": ["other"]}]}}
    code, status = await api.call("PATCH", "pods/one", patch, "application/merge-patch+json")
    assert (code, status["reason"]) == (422, "Invalid")
    assert "pod updates may not change fields other than" in status["message"]


async def test_a_patch_of_an_unknown_kind_is_refused(api: Api) -> None:
    await api.done("POST", "pods", pod())
    code, status = await api.call("PATCH", "pods/one", {}, "text/plain")
    assert (code, status["reason"]) == (415, "UnsupportedMediaType")


# ------------------------------------------------------------------------------------------------------ logs and quotas


async def test_the_log_of_a_container_is_asked_for_by_its_name(api: Api) -> None:
    await api.done("POST", "pods", pod(containers=[CONTAINER, {"name": "side", "image": "i"}]))
    unnamed = await api.refused("GET", "pods/one/log")
    assert (unnamed["code"], unnamed["reason"]) == (400, "BadRequest")
    assert "a container name must be specified for pod one, choose one of: [main side]" in unnamed["message"]
    unknown = await api.refused("GET", "pods/one/log", container="other")
    assert (unknown["code"], unknown["message"]) == (400, "container other is not valid for pod one")
    assert await api.call("GET", "pods/one/log", container="main") == (204, ""), "no node has it"


async def quota(api: Api, **hard: str) -> None:
    """A quota as its controller would have it: that one looks into the specification, admission into the status."""
    hard = {name.replace("__", "."): value for name, value in hard.items()}
    body = {"metadata": {"name": "small"}, "spec": {"hard": hard}}
    await api.done("POST", "resourcequotas", body)
    await api.patch("resourcequotas/small/status", {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}})


async def until_known(api: Api, wanted: Object) -> Object:
    """The refusal of a pod, once the server has noticed its quota."""
    for _ in range(100):
        code, answer = await api.call("POST", "pods", wanted)
        if code != 201:
            return answer  # type: ignore[no-any-return]
        await api.done("DELETE", f"pods/{wanted['metadata']['name']}")
        await asyncio.sleep(0.1)
    raise AssertionError("the quota is not noticed")


async def test_a_pod_beyond_the_quota_is_forbidden_and_told_how_much_there_is(api: Api) -> None:
    await quota(api, pods="1", requests__cpu="2")
    small = {"requests": {"cpu": "500m", "memory": "1Gi"}}
    large = {"requests": {"cpu": "3"}}
    status = await until_known(api, pod("large", containers=[{**CONTAINER, "resources": large}]))
    assert (status["code"], status["reason"]) == (403, "Forbidden")
    text = "exceeded quota: small, requested: requests.cpu=3, used: requests.cpu=0, limited: requests.cpu=2"
    assert status["message"] == f'pods "large" is forbidden: {text}'
    await api.done("POST", "pods", pod(containers=[{**CONTAINER, "resources": small}]))
    status = await api.refused("POST", "pods", pod("two", containers=[{**CONTAINER, "resources": small}]))
    text = "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1"
    assert status["message"] == f'pods "two" is forbidden: {text}'
    assert (await api.done("GET", "resourcequotas/small"))["status"]["used"] == {"pods": "1", "requests.cpu": "500m"}


async def test_a_pod_that_does_not_say_what_a_quota_counts_is_forbidden(api: Api) -> None:
    await quota(api, limits__memory="1Gi")
    status = await until_known(api, pod())
    assert (status["code"], status["reason"]) == (403, "Forbidden")
    assert status["message"] == 'pods "one" is forbidden: failed quota: small: must specify limits.memory for: main'


# ------------------------------------------------------------------------------------------------------------ on demand


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
