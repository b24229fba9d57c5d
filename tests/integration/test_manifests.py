"""Every object that an overlay applies is valid for the versions of Kubernetes that we support."""

from __future__ import annotations

import os
from pathlib import Path

import kubernetes_validate
import pytest

from tests.support.manifests import OVERLAYS, ROOT, render, rendered

COMPONENTS = ROOT / "deploy/k8s/components"

OLDEST, NEWEST = "1.30", "1.37"
"""Of the versions of Kubernetes that the manifests are for: `sleep` before a stop is there from 1.30 on."""

CUSTOM = ("monitoring.coreos.com/v1", "cert-manager.io/v1")
"""Kinds of others' that only they could check."""


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_its_schema_says(overlay: str, version: str) -> None:
    for each in rendered(overlay).objects:
        if each["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


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
        if each["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(each, NEWEST, strict=True)
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
