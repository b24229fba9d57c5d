"""What a Kubernetes API promises to those who list and watch, the real one and `tests.support.kubernetes`."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support.kube_apiserver import CLUSTER
from tests.support.kubernetes import NAMESPACE
from tests.support.kubernetes_api import Api, next_of, pod, version, without_bookmarks

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
