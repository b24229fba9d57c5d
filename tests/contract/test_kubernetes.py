"""What an API server of Kubernetes promises to those who run pods, of the real one and of `tests.support.kubernetes`.

The real one has no node for these pods: where a node would speak, the test patches the status.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.kubernetes_api import CONTAINER, Api, Object, pod, version, without_bookmarks

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
