"""Every object that an overlay applies is valid for the versions of Kubernetes that we support."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from tests.support.manifests import OVERLAYS, ROOT, Object, render, rendered

COMPONENTS = ROOT / "deploy/k8s/components"

OLDEST, NEWEST = "1.30", "1.37"
"""Of the versions of Kubernetes that the manifests are for: `sleep` before a stop is there from 1.30 on."""

CUSTOM = ("monitoring.coreos.com/v1", "cert-manager.io/v1")
"""Kinds of others' that only they could check."""


def check(thing: Object, version: str) -> None:
    """Raises what is wrong with an object."""
    if thing["apiVersion"] not in CUSTOM:
        _check(json.dumps(thing), version)


@cache
def _check(text: str, version: str) -> None:
    """Most objects are the same in several overlays, and reading the schema of each takes its time."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_its_schema_says(overlay: str, version: str) -> None:
    for each in rendered(overlay).objects:
        check(each, version)


@pytest.mark.parametrize("component", sorted(path.parent.name for path in COMPONENTS.glob("*/kustomization.yaml")))
def test_every_component_can_be_added_by_itself(component: str, tmp_path: Path) -> None:
    base = COMPONENTS.parent / "base"
    lines = [
        "resources:",
        f"  - {os.path.relpath(base, tmp_path)}",
        "components:",
        f"  - {os.path.relpath(COMPONENTS / component, tmp_path)}",
        "configMapGenerator:",
        "  - {name: airscrew-stores, namespace: airscrew, literals: [blob=s3://b/c, etcd=e, http-url=u]}",
    ]
    (tmp_path / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    them = render(tmp_path)
    for each in them.objects:
        check(each, NEWEST)
    executor = them.service("executor")["spec"]["template"]["spec"]
    roles = [rule["resources"] for role in them.of("Role") for rule in role["rules"]]
    if component == "pods":
        assert executor["automountServiceAccountToken"] is True
        rights = {
            resource: rule["verbs"]
            for role in them.of("Role")
            for rule in role["rules"]
            for resource in rule["resources"]
        }
        assert set(rights) == {"pods", "pods/log", "podtemplates", "statefulsets"}, "of its own namespace, and no more"
        assert [rights[name] for name in rights if name != "pods"] == [["get"]] * 3
    else:
        assert executor["automountServiceAccountToken"] is False
        assert roles == []
