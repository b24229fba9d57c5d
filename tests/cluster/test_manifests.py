"""What a schema cannot tell: whether the API server takes what is to be applied."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest

from tests.cluster.kube import Kube
from tests.support.manifests import OVERLAYS, Object, rendered

NAMESPACE = "airscrew-dry"
OF_OTHERS = ("monitoring.coreos.com/", "cert-manager.io/")
"""Groups of operators that this cluster does not have."""


@pytest.fixture(scope="module")
def empty(kube: Kube) -> Iterator[str]:
    """A namespace in which nothing is in the way."""
    kube("create", "namespace", NAMESPACE)
    yield NAMESPACE
    kube("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_server_takes_every_object(overlay: str, kube: Kube, empty: str) -> None:
    known = [each for each in rendered(overlay).objects if not each["apiVersion"].startswith(OF_OTHERS)]
    moved = [_moved(each, empty) for each in known if each["kind"] != "Namespace"]
    told = json.dumps({"apiVersion": "v1", "kind": "List", "items": moved})
    taken = kube("create", f"--namespace={empty}", "--dry-run=server", "--validate=strict", "--filename=-", told=told)
    assert taken.count("created (server dry run)") > 20


def _moved(thing: Object, namespace: str) -> Object:
    moved = copy.deepcopy(thing)
    if "namespace" in moved["metadata"]:
        moved["metadata"]["namespace"] = namespace
    return moved
