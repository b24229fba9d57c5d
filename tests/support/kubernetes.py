"""A make-believe Kubernetes: an API server over HTTP on this machine, without nodes, for tests of what runs pods.

It answers as the real one does (`tests/contract/test_kubernetes*.py` run on both), and it does on demand what a real
one does when it pleases: refuse with 429, end watches, forget old versions. Nobody runs its pods: a test is scheduler
and kubelet, by `become` and `let_go`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import yaml
from aiohttp import web

from tests.support.kubernetes_checks import Kind, Object, Refused
from tests.support.kubernetes_objects import KINDS, Objects, merged

NAMESPACE: Final = "tasks"
_PATH: Final = re.compile(
    r"/(?:api/v1|apis/(?P<group>[a-z.]+/v1))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>status|log))?"
)


@dataclass(frozen=True)
class Request:
    """What a client has asked."""

    method: str
    path: str
    query: Mapping[str, str]

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") in ("true", "1")


@dataclass
class _Refusal:
    refused: Refused
    headers: Mapping[str, str]
    times: int
    wanted: Callable[[Request], bool]


@dataclass
class FakeKubernetes:
    """Enter it to serve; `url` is where. It has the namespaces `default` and `NAMESPACE`."""

    bookmark_seconds: float = 0.2
    """After so long without news a watch that wants bookmarks gets one. A real server: once a minute, and before the
    watch ends."""
    objects: Objects = field(default_factory=Objects)
    requests: list[Request] = field(default_factory=list)
    """All that were made, in order."""
    url: str = ""

    def __post_init__(self) -> None:
        self._logs: dict[tuple[str, str, str], bytes] = {}
        self._refusals: list[_Refusal] = []
        self._watches: set[asyncio.Event] = set()
        self._stopping = asyncio.Event()
        for name in ("default", NAMESPACE):
            self.objects.create(KINDS["namespaces"], "", {"metadata": {"name": name}})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Serves; after `stop` again at the same address, with the same objects."""
        app = web.Application(client_max_size=4 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._stopping = asyncio.Event()
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port or int(self.url.rpartition(":")[2] or 0))
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        self._stopping.set()
        self.end_watches()
        await self._runner.cleanup()

    def kubeconfig(self, folder: Path, namespace: str = NAMESPACE) -> Path:
        """Writes a configuration file for clients."""
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(kubeconfig({"server": self.url}, {"token": "anybody"}, namespace)))
        return path

    # ------------------------------------------------------------------------------------------ scheduler and kubelet

    def pod(self, name: str, namespace: str = NAMESPACE) -> Object:
        """Raises Refused where there is none."""
        return self.objects.get(KINDS["pods"], namespace, name)

    def pods(self, namespace: str = NAMESPACE) -> list[Object]:
        return self.objects.list(KINDS["pods"], namespace, lambda _: True)

    def become(self, name: str, status: Object, namespace: str = NAMESPACE, node: str = "node-1") -> Object:
        """Merges into a pod's status what its node would say of it; the pod then is on that node."""
        pod = self.pod(name, namespace)
        if node and not pod["spec"].get("nodeName"):
            bound = merged(pod, {"spec": {"nodeName": node}})
            self.objects.put(KINDS["pods"], pod, bound)
        return self.objects.patch(KINDS["pods"], namespace, name, {"status": status}, "status")

    def let_go(self, name: str, namespace: str = NAMESPACE) -> None:
        """The node has ended a pod that is being deleted, or somebody deletes it without asking the node."""
        self.objects.delete(KINDS["pods"], namespace, name, {"gracePeriodSeconds": 0})

    def print(self, name: str, container: str, text: bytes, namespace: str = NAMESPACE) -> None:
        """Adds to a container's log."""
        key = (namespace, name, container)
        self._logs[key] = self._logs.get(key, b"") + text

    # --------------------------------------------------------------------------------------------------------- trouble

    def refuse(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        retry_after: int | None = None,
        times: int = 1,
        wanted: Callable[[Request], bool] = lambda request: not request.is_watch,
    ) -> None:
        """Answers the next requests that are `wanted` with an error; `times` 0 is until `relent`."""
        details = {} if retry_after is None else {"retryAfterSeconds": retry_after}
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._refusals.append(_Refusal(Refused(code, reason, message, **details), headers, times, wanted))

    def too_many_requests(self, retry_after: int = 1, times: int = 1) -> None:
        """What a server says that has too much to do."""
        text = "Too many requests, please try again later."
        self.refuse(429, "TooManyRequests", text, retry_after=retry_after, times=times)

    def relent(self) -> None:
        """Refuses nothing any more."""
        self._refusals.clear()

    def end_watches(self) -> None:
        """Closes the connections of all watches."""
        for each in self._watches:
            each.set()

    @property
    def watches(self) -> int:
        """How many are open."""
        return len(self._watches)

    # --------------------------------------------------------------------------------------------------------- serving

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.method, request.path, dict(request.query))
        self.requests.append(asked)
        try:
            if (refusal := self._refusal(asked)) is not None:
                return web.json_response(refusal.refused.status, status=refusal.refused.code, headers=refusal.headers)
            return await self._route(request, asked)
        except Refused as error:
            return web.json_response(error.status, status=error.code)

    def _refusal(self, asked: Request) -> _Refusal | None:
        for refusal in self._refusals:
            if refusal.wanted(asked):
                refusal.times -= 1
                if refusal.times == 0:
                    self._refusals.remove(refusal)
                return refusal
        return None

    async def _route(self, request: web.Request, asked: Request) -> web.StreamResponse:
        match = _PATH.fullmatch(request.path)
        kind = KINDS.get(match["plural"]) if match else None
        if match is None or kind is None or (match["group"] or "v1") != kind.api:
            return web.Response(status=404, text="404 page not found")
        place = (kind, match["namespace"] or "", match["name"] or "")
        handle = {
            ("GET", False, None): self._list,
            ("POST", False, None): self._create,
            ("GET", True, None): self._get,
            ("GET", True, "log"): self._log,
            ("DELETE", True, None): self._delete,
            ("PATCH", True, None): self._patch,
            ("PATCH", True, "status"): self._patch_status,
        }.get((request.method, bool(match["name"]), match["sub"]))
        if handle is None:
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        return await handle(request, *place)

    async def _create(self, request: web.Request, kind: Kind, namespace: str, _: str) -> web.StreamResponse:
        return web.json_response(self.objects.create(kind, namespace, await _body(request)), status=201)

    async def _get(self, request: web.Request, kind: Kind, namespace: str, name: str) -> web.StreamResponse:
        return web.json_response(self.objects.get(kind, namespace, name))

    async def _patch(self, request: web.Request, kind: Kind, namespace: str, name: str) -> web.StreamResponse:
        return web.json_response(self.objects.patch(kind, namespace, name, await _merge_patch(request)))

    async def _patch_status(self, request: web.Request, kind: Kind, namespace: str, name: str) -> web.StreamResponse:
        return web.json_response(self.objects.patch(kind, namespace, name, await _merge_patch(request), "status"))

    async def _delete(self, request: web.Request, kind: Kind, namespace: str, name: str) -> web.StreamResponse:
        options = await _body(request) if request.can_read_body else {}
        if "gracePeriodSeconds" in request.query:
            options.setdefault("gracePeriodSeconds", int(request.query["gracePeriodSeconds"]))
        return web.json_response(self.objects.delete(kind, namespace, name, options))

    async def _list(self, request: web.Request, kind: Kind, namespace: str, _: str) -> web.StreamResponse:
        matches = selector(request.query.get("labelSelector", ""))
        if request.query.get("watch") in ("true", "1"):
            return await self._watch(request, kind, namespace, matches)
        found = self.objects.list(kind, namespace, matches)
        after, limit = request.query.get("continue", ""), int(request.query.get("limit", "0"))
        rest = [each for each in found if not after or _key(each) > after]
        page = rest[:limit] if limit else rest
        meta: Object = {"resourceVersion": str(self.objects.version)}
        if len(page) < len(rest):
            meta |= {"continue": _key(page[-1]), "remainingItemCount": len(rest) - len(page)}
        items = [{key: value for key, value in each.items() if key not in ("kind", "apiVersion")} for each in page]
        return web.json_response({"kind": f"{kind.name}List", "apiVersion": kind.api, "metadata": meta, "items": items})

    # ----------------------------------------------------------------------------------------------------------- watch

    async def _watch(
        self, request: web.Request, kind: Kind, namespace: str, matches: Callable[[Object], bool]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        ended = asyncio.Event()
        self._watches.add(ended)
        seconds = float(request.query.get("timeoutSeconds", "1800"))
        try:
            with suppress(TimeoutError, ConnectionResetError):
                async with asyncio.timeout(seconds):
                    async for type, thing in self._events(request.query, kind, namespace, matches, ended):
                        await response.write(json.dumps({"type": type, "object": thing}).encode() + b"\n")
        finally:
            self._watches.discard(ended)
        return response

    async def _events(
        self,
        query: Mapping[str, str],
        kind: Kind,
        namespace: str,
        matches: Callable[[Object], bool],
        ended: asyncio.Event,
    ) -> AsyncIterator[tuple[str, Object]]:
        at = int(query.get("resourceVersion") or 0)
        if not at:  # whatever there is comes first
            at = self.objects.version
            for each in self.objects.list(kind, namespace, matches):
                yield "ADDED", each
        first, bookmarks = at, query.get("allowWatchBookmarks") in ("true", "1")
        while not ended.is_set():
            changed = self.objects.changed
            try:
                told, at = list(self.objects.since(kind, at, namespace, matches)), self.objects.version
            except Refused as error:
                yield "ERROR", error.status
                return
            for event in told:
                yield event
            if not await _either(changed, ended, self.bookmark_seconds) and bookmarks and at > first:
                meta = {"resourceVersion": str(at), "creationTimestamp": None}
                yield "BOOKMARK", {"kind": kind.name, "apiVersion": kind.api, "metadata": meta}

    # ------------------------------------------------------------------------------------------------------------ logs

    async def _log(self, request: web.Request, kind: Kind, namespace: str, name: str) -> web.StreamResponse:
        pod = self.objects.get(kind, namespace, name)
        spec = pod["spec"]
        names = [each["name"] for each in (*spec["containers"], *spec.get("initContainers", ()))]
        wanted = request.query.get("container", "")
        if not wanted and len(spec["containers"]) > 1:
            choices = " ".join(each["name"] for each in spec["containers"])
            text = f"a container name must be specified for pod {name}, choose one of: [{choices}]"
            raise Refused(400, "BadRequest", text)
        if wanted and wanted not in names:
            raise Refused(400, "BadRequest", f"container {wanted} is not valid for pod {name}")
        if not spec.get("nodeName"):
            return web.Response(status=204)  # nobody could have a log of it
        log = self._logs.get((namespace, name, wanted or names[0]), b"")
        if "tailLines" in request.query:
            lines = log.splitlines(keepends=True)
            log = b"".join(lines[max(len(lines) - int(request.query["tailLines"]), 0) :])
        if "limitBytes" in request.query:
            log = log[: int(request.query["limitBytes"])]
        return web.Response(body=log, content_type="text/plain")


def kubeconfig(cluster: Object, user: Object, namespace: str) -> Object:
    """A configuration with one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
    }


def selector(text: str) -> Callable[[Object], bool]:
    """What a label selector lets through: `a=b,c!=d,e in (f,g),h,!i`."""
    terms = [_term(each.strip()) for each in re.split(r",(?![^()]*\))", text) if each.strip()]

    def matches(thing: Object) -> bool:
        labels = thing["metadata"].get("labels") or {}
        return all(term(labels) for term in terms)

    return matches


def _term(text: str) -> Callable[[Mapping[str, str]], bool]:
    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", text):
        key, word, values = match[1], match[2], {each.strip() for each in match[3].split(",")}
        return (
            (lambda labels: labels.get(key) in values)
            if word == "in"
            else (lambda labels: labels.get(key) not in values)
        )
    if match := re.fullmatch(r"([^=!\s]+)\s*(=|==|!=)\s*([^=!\s]*)", text):
        key, word, value = match.groups()
        return (lambda labels: labels.get(key) != value) if word == "!=" else (lambda labels: labels.get(key) == value)
    if re.fullmatch(r"!?[A-Za-z0-9][-A-Za-z0-9_./]*", text):
        key, absent = text.removeprefix("!"), text.startswith("!")
        return lambda labels: (key in labels) is not absent
    raise Refused(400, "BadRequest", f"unable to parse requirement: {text}")


async def _either(first: asyncio.Event, second: asyncio.Event, seconds: float) -> bool:
    """Waits for one of two; False when the time was over before."""
    waiting = [asyncio.create_task(each.wait(), name="wait for an event") for each in (first, second)]
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in waiting:
            task.cancel()


async def _body(request: web.Request) -> Object:
    try:
        body = json.loads(await request.text())
    except ValueError as error:
        raise Refused(400, "BadRequest", f"error decoding: {error}") from None
    if not isinstance(body, dict):
        raise Refused(400, "BadRequest", "couldn't get version/kind; json parse error")
    return body


async def _merge_patch(request: web.Request) -> Object:
    if request.content_type != "application/merge-patch+json":
        text = "the body of the request was in an unknown format - accepted media types include: merge-patch"
        raise Refused(415, "UnsupportedMediaType", text)
    return await _body(request)


def _key(thing: Object) -> str:
    meta = thing["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"
