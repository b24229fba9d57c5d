"""Every object that an overlay applies is valid for the versions of Kubernetes that we support."""

from __future__ import annotations

import kubernetes_validate
import pytest

from tests.support.manifests import OVERLAYS, rendered

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
