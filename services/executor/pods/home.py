"""What the executor itself is in the cluster: who owns its pods, and whether somebody comes back under its name.

Pods belong to the StatefulSet of the executor: they outlive a replica that is replaced, for the next one adopts them,
and go with the set. A replica that is not wanted any more when it ends, because the set was scaled down or deleted, has
nobody to come back, and neither has an executor that is no replica of a StatefulSet: those hand back what they have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.executor.pods.cluster import Cluster, Object
from services.executor.pods.refusals import Refused, Unreachable

logger = logging.getLogger(__name__)

_INDEX = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class Home:
    """Where an executor lives."""

    owner: Mapping[str, Any] | None = None
    """The owner reference of its pods; None for an executor outside the cluster."""
    index: int = 0
    """Which replica of its StatefulSet it is."""
    image: str = ""
    """What it runs in; empty outside the cluster."""

    async def is_kept(self, cluster: Cluster) -> bool:
        """Whether an executor of this name comes back after this one. One that nobody knows better of does."""
        if self.owner is None:
            return True
        if self.owner["kind"] != "StatefulSet":
            return False
        try:
            found = await cluster.stateful_set(self.owner["name"])
        except (Refused, Unreachable) as error:
            logger.warning("it is not known whether this executor is still wanted, so it is taken to be: %s", error)
            return True
        if found is None or found["metadata"].get("deletionTimestamp"):
            return False
        spec = found["spec"]
        first = (spec.get("ordinals") or {}).get("start") or 0
        return self.index < first + int(spec.get("replicas", 1))


async def find(cluster: Cluster, own_pod: str) -> Home:
    """Reads what the executor's own pod says. Raises Refused and Unreachable."""
    if not own_pod:
        return Home()
    pod = await cluster.get(own_pod)
    if pod is None:
        raise Refused(404, "NotFound", f"there is no pod {own_pod} in namespace {cluster.namespace}: is it this one's?")
    image = pod["spec"]["containers"][0]["image"]
    references = pod["metadata"].get("ownerReferences") or ()
    above = next((each for each in references if each.get("controller") and each["kind"] == "StatefulSet"), None)
    if above is None:
        return Home(_reference("v1", "Pod", pod["metadata"]), image=image)
    return Home(_reference(above["apiVersion"], "StatefulSet", above), _index(pod), image)


def _reference(version: str, kind: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "name": owner["name"], "uid": owner["uid"]}


def _index(pod: Object) -> int:
    text = (pod["metadata"].get("labels") or {}).get(_INDEX) or pod["metadata"]["name"].rpartition("-")[2]
    return int(text) if text.isdecimal() else 0
