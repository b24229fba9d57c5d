"""What can be said about our etcd calls without an etcd."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from libs.election.election import Election
from libs.election.etcd import MINIMUM_VERSION, Access, Etcd, version_numbers
from libs.workflow import errors


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"endpoints": ()}, "at least one endpoint"),
        ({"endpoints": ("localhost",)}, "'localhost' is not host:port"),
        ({"endpoints": ("a:1", "http://b:2379")}, "'http://b:2379' is not host:port"),
        ({"endpoints": ("a:x",)}, "'a:x' is not host:port"),
        ({"endpoints": ("a:1",), "user": "root"}, "user and password must be given together"),
        ({"endpoints": ("a:1",), "ca": Path("ca"), "key": Path("key")}, "certificate and key must be given together"),
        ({"endpoints": ("a:1",), "key": Path("k"), "certificate": Path("c")}, "needs the certificate authority"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Access(**settings)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Access(("a:1",), user="root", password="secret"))


@pytest.mark.parametrize(
    ("version", "numbers"), [("3.5.30", (3, 5, 30)), ("3.6.0-rc.1", (3, 6, 0)), ("3.10", (3, 10)), ("unknown", ())]
)
def test_versions_compare_as_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(version) == numbers
    assert (version_numbers(version) >= MINIMUM_VERSION) == (version != "unknown")


def test_a_server_that_is_not_there_is_unavailable_and_every_endpoint_is_named() -> None:
    etcd = Etcd(Access(("127.0.0.1:1", "127.0.0.1:2")), timeout_seconds=1)
    with pytest.raises(errors.Unavailable, match=r"did not read: 127\.0\.0\.1:1: .*; 127\.0\.0\.1:2: "):
        etcd.read("/k")


def test_a_certificate_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    etcd = Etcd(Access(("127.0.0.1:1",), ca=tmp_path / "absent.pem"), timeout_seconds=1)
    with pytest.raises(errors.Unavailable, match=r"absent\.pem"):
        etcd.read("/k")


def test_a_lease_too_short_for_etcd_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Election(["127.0.0.1:1"], key="/k", holder="h", address="a", ttl_seconds=1)
