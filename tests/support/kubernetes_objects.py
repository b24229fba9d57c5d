"""The objects of a make-believe Kubernetes: what its API server does with them, without the HTTP.

It keeps what clients of pods rely on, which `tests/contract/test_kubernetes*.py` hold against the real server: names
that are taken, versions that only grow, what a watch tells, graceful deletion, finalizers, merge patches, status apart
from specification, quotas. Of the fields of a pod it checks the essentials (`kubernetes_checks`) and defaults a few.
"""

from __future__ import annotations

import asyncio
import copy
import re
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from tests.support.kubernetes_checks import Kind, Object, Refused, check, check_unchanged, number, quoted

FIRST_VERSION: Final = 1000
"""Every version below is too old to watch from."""


KINDS: Final = {
    kind.plural: kind
    for kind in (
        Kind("Pod", "pods"),
        Kind("PodTemplate", "podtemplates"),
        Kind("ResourceQuota", "resourcequotas"),
        Kind("Secret", "secrets"),
        Kind("ConfigMap", "configmaps"),
        Kind("ServiceAccount", "serviceaccounts"),
        Kind("Namespace", "namespaces", namespaced=False),
        Kind("StatefulSet", "statefulsets", "apps/v1"),
    )
}


@dataclass(frozen=True)
class Change:
    """What happened to one object. `before` and `after` are None where there was or is none."""

    version: int
    before: Object | None
    after: Object | None


@dataclass
class Objects:
    """All objects of a cluster, and what has happened to them."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    version: int = FIRST_VERSION
    oldest: int = FIRST_VERSION
    """Changes up to this version are forgotten."""
    found: dict[str, dict[tuple[str, str], Object]] = field(default_factory=lambda: {plural: {} for plural in KINDS})
    changes: dict[str, list[Change]] = field(default_factory=lambda: {plural: [] for plural in KINDS})
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by a new one, whenever something has happened."""

    def forget_changes(self) -> None:
        """As when etcd is compacted: nobody can watch from a version that was before."""
        self.oldest = self.version
        for changes in self.changes.values():
            changes.clear()
        self._tell()

    # ------------------------------------------------------------------------------------------------------- reading

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self.found[kind.plural].get((namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f"{_plural(kind)} {quoted(name)} not found", name=name, kind=kind.plural)
        return found

    def list(self, kind: Kind, namespace: str, matches: Callable[[Object], bool]) -> list[Object]:
        """In the order of their names; of all namespaces if none is named."""
        chosen = sorted(self.found[kind.plural].items())
        return [each for (home, _), each in chosen if (not namespace or home == namespace) and matches(each)]

    def since(
        self, kind: Kind, version: int, namespace: str, matches: Callable[[Object], bool]
    ) -> Iterator[tuple[str, Object]]:
        """What a watch tells of the changes after `version`. An object that comes to match is new, one that matches no
        longer is gone."""
        if version < self.oldest:
            raise Refused(410, "Expired", f"too old resource version: {version} ({self.oldest})")
        for change in self.changes[kind.plural]:
            if change.version <= version:
                continue
            before = change.before is not None and matches(change.before)
            after = change.after is not None and matches(change.after)
            shown = change.after if after else change.before
            if not (before or after) or shown is None or (namespace and shown["metadata"]["namespace"] != namespace):
                continue
            if not after:
                shown = copy.deepcopy(shown)
                shown["metadata"]["resourceVersion"] = str(change.version)
            yield ("MODIFIED" if before and after else "ADDED" if after else "DELETED"), shown

    # ------------------------------------------------------------------------------------------------------- writing

    def create(self, kind: Kind, namespace: str, wanted: Object) -> Object:
        self._require_namespace(kind, namespace)
        if not all(isinstance(wanted.get(part, {}), dict) for part in ("metadata", "spec", "status")):
            text = f'{kind.name} in version "v1" cannot be handled as a {kind.name}: json: cannot unmarshal'
            raise Refused(400, "BadRequest", text)
        made = copy.deepcopy(wanted)
        meta = made.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + secrets.token_hex(3)[:5]
        if kind.namespaced and meta.setdefault("namespace", namespace) != namespace:
            text = "the namespace of the provided object does not match the namespace sent on the request"
            raise Refused(400, "BadRequest", text)
        made |= {"kind": kind.name, "apiVersion": kind.api}
        check(kind, made)
        name = meta["name"]
        if (namespace, name) in self.found[kind.plural]:
            text = f"{_plural(kind)} {quoted(name)} already exists"
            raise Refused(409, "AlreadyExists", text, name=name, kind=kind.plural)
        if kind.name == "Pod":
            self._charge(namespace, made)
            _default_spec(made["spec"])
            made["status"] = {"phase": "Pending", "qosClass": _quality(made["spec"])}
        elif kind.name == "PodTemplate":
            _default_spec(made["template"]["spec"])
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._now(), "generation": 1}
        meta.pop("deletionTimestamp", None)
        return self.put(kind, None, made)

    def patch(self, kind: Kind, namespace: str, name: str, patch: Object, subresource: str = "") -> Object:
        """A JSON merge patch, of the status alone or of everything else."""
        before = self.get(kind, namespace, name)
        meta = before["metadata"]
        expected = (patch.get("metadata") or {}).get("resourceVersion")
        if expected not in (None, meta["resourceVersion"]):
            raise _conflict(kind, name)
        patched = merged(before, patch)
        after = copy.deepcopy(before)
        if subresource == "status":
            after["status"] = patched.get("status") or {}
        else:
            after = patched | {key: before[key] for key in ("status",) if key in before}
            for fixed in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation"):
                after["metadata"].pop(fixed, None)
                if fixed in meta:
                    after["metadata"][fixed] = meta[fixed]
            check(kind, after)
            check_unchanged(kind, before, after)
        if after == before:
            return before
        if _is_done(after):
            return self._remove(kind, after)
        return self.put(kind, before, after)

    def delete(self, kind: Kind, namespace: str, name: str, options: Mapping[str, Any]) -> Object:
        """What it is as long as it is there, or was. Watches hear of the wish before the end."""
        before = self.get(kind, namespace, name)
        meta = before["metadata"]
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted not in (None, meta["uid"]):
            text = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta['uid']}"
            raise Refused(409, "Conflict", f"Operation cannot be fulfilled on {_plural(kind)} {quoted(name)}: {text}")
        grace = _grace(kind, before, options.get("gracePeriodSeconds"))
        if "deletionTimestamp" in meta:
            # Asked again: only a shorter grace makes a difference.
            grace = min(grace, meta.get("deletionGracePeriodSeconds", 0))
        after = copy.deepcopy(before)
        after["metadata"]["deletionGracePeriodSeconds"] = grace
        if "deletionTimestamp" not in meta or grace < meta["deletionGracePeriodSeconds"]:
            after["metadata"]["deletionTimestamp"] = self._now(timedelta(seconds=grace))
            after["metadata"]["generation"] = 2
        last = before if after == before else self.put(kind, before, after)
        return self._remove(kind, last) if _is_done(last) else last

    # ------------------------------------------------------------------------------------------------------- the inside

    def put(self, kind: Kind, before: Object | None, after: Object) -> Object:
        """Stores what has become of an object, unchecked."""
        self.version += 1
        after["metadata"]["resourceVersion"] = str(self.version)
        meta = after["metadata"]
        self.found[kind.plural][meta.get("namespace", ""), meta["name"]] = after
        self.changes[kind.plural].append(Change(self.version, before, after))
        self._tell()
        return after

    def _remove(self, kind: Kind, last: Object) -> Object:
        last = copy.deepcopy(last)
        meta = last["metadata"]
        before = self.found[kind.plural].pop((meta.get("namespace", ""), meta["name"]))
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self.changes[kind.plural].append(Change(self.version, before, None))
        self._tell()
        return last

    def _tell(self) -> None:
        told, self.changed = self.changed, asyncio.Event()
        told.set()

    def _now(self, later: timedelta = timedelta()) -> str:
        return (self.clock() + later).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _require_namespace(self, kind: Kind, namespace: str) -> None:
        if kind.namespaced and ("", namespace) not in self.found["namespaces"]:
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found', name=namespace, kind="namespaces")

    def _charge(self, namespace: str, pod: Object) -> None:
        """Adds a pod to what the namespace's quotas say is used, or refuses it."""
        for (home, name), quota in list(self.found["resourcequotas"].items()):
            status = quota.get("status") or {}
            hard, used = status.get("hard") or {}, status.get("used") or {}
            if home != namespace or not hard:
                continue
            asked = _asked(pod)
            _require_asked(pod, name, hard, asked)
            wanted = {each: asked[each] for each in hard if each in asked}
            total = {each: number(used.get(each, "0")) + amount for each, amount in wanted.items()}
            exceeded = sorted(each for each in wanted if total[each] > number(hard[each]))
            if exceeded:
                parts = (
                    ("requested", {each: _text(wanted[each]) for each in exceeded}),
                    ("used", {each: used.get(each, "0") for each in exceeded}),
                    ("limited", {each: hard[each] for each in exceeded}),
                )
                said = ", ".join(f"{word}: {','.join(f'{k}={v}' for k, v in part.items())}" for word, part in parts)
                raise _forbidden(pod, f"exceeded quota: {name}, {said}")
            changed = {"status": {"used": {each: _text(amount) for each, amount in total.items()}}}
            self.patch(KINDS["resourcequotas"], namespace, name, changed, "status")


def merged(below: Any, above: Any) -> Any:
    """RFC 7396."""
    if not isinstance(above, dict):
        return copy.deepcopy(above)
    result = copy.deepcopy(below) if isinstance(below, dict) else {}
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _is_done(thing: Object) -> bool:
    meta = thing["metadata"]
    asked, grace = "deletionTimestamp" in meta, meta.get("deletionGracePeriodSeconds", 0)
    return asked and not grace and not meta.get("finalizers")


def _grace(kind: Kind, pod: Object, asked: int | None) -> int:
    """A pod that no node has, or that has ended, needs none."""
    if kind.name != "Pod" or not pod["spec"].get("nodeName"):
        return 0
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    return int(pod["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)


def _default_spec(spec: Object) -> None:
    for name, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
    ):
        spec.setdefault(name, value)
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        newest = container["image"].rpartition("/")[2].partition(":")[2] in ("", "latest")
        container.setdefault("imagePullPolicy", "Always" if newest else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})


def _quality(spec: Object) -> str:
    """Of service, as an eviction goes by."""
    resources = [each["resources"] for each in spec["containers"]]
    best_effort = not any(each.get("requests") or each.get("limits") for each in resources)
    guaranteed = all(
        each.get("limits") and each.get("requests", each["limits"]) == each["limits"] for each in resources
    )
    return "BestEffort" if best_effort else "Guaranteed" if guaranteed else "Burstable"


# -------------------------------------------------------------------------------------------------------- what is asked


def _asked(pod: Object) -> dict[str, Decimal]:
    """What a quota counts of a pod, by the quota's names."""
    total = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        for part, amounts in (("requests", {**limits, **(resources.get("requests") or {})}), ("limits", limits)):
            for name, amount in amounts.items():
                for counted in (f"{part}.{name}", *([name] if part == "requests" else [])):
                    total[counted] = total.get(counted, Decimal(0)) + number(amount)
    return total


def _require_asked(pod: Object, quota: str, hard: Mapping[str, str], asked: Mapping[str, Decimal]) -> None:
    computed = re.compile(r"((requests|limits)\.)?(cpu|memory)")
    missing = sorted(each for each in hard if computed.fullmatch(each) and each not in asked)
    if missing:
        names = ",".join(each["name"] for each in pod["spec"]["containers"])
        raise _forbidden(
            pod, "failed quota: {}: must specify {}".format(quota, "; ".join(f"{m} for: {names}" for m in missing))
        )


def _text(amount: Decimal) -> str:
    """As Kubernetes writes a quantity of cores or bytes."""
    if amount != amount.to_integral_value():
        return f"{int(amount * 1000)}m"
    whole = int(amount)
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if whole and whole % size == 0:
            return f"{whole // size}{suffix}"
    return str(whole)


def _conflict(kind: Kind, name: str) -> Refused:
    text = "the object has been modified; please apply your changes to the latest version and try again"
    message = f"Operation cannot be fulfilled on {_plural(kind)} {quoted(name)}: {text}"
    return Refused(409, "Conflict", message, name=name, kind=kind.plural)


def _forbidden(pod: Object, why: str) -> Refused:
    name = pod["metadata"]["name"]
    return Refused(403, "Forbidden", f"pods {quoted(name)} is forbidden: {why}", name=name, kind="pods")


def _plural(kind: Kind) -> str:
    return kind.plural if "/" not in kind.api else f"{kind.plural}.{kind.api.partition('/')[0]}"
