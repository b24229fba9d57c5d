"""Signed addresses permit exactly what was signed."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from libs.workflow.errors import PermissionDenied
from services.admin.signing import Grant, Signer, Verb

KEY = b"a key of at least sixteen bytes"
GRANT = Grant(Verb.WRITE, "uploads/p/d/folder/ä file.tar.gz", 2_000_000, bytes(16))


def opened(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    return unquote(parts.path).removeprefix("/data/"), {
        name: values[0] for name, values in parse_qs(parts.query).items()
    }


def test_an_address_carries_its_grant_back() -> None:
    signer = Signer(KEY, "http://host:1/")
    path, query = opened(signer.url(GRANT))
    assert signer.check(Verb.WRITE, path, query, now_us=1_999_999) == GRANT


def test_every_replica_with_the_key_accepts_an_address() -> None:
    path, query = opened(Signer(KEY, "http://one").url(GRANT))
    assert Signer(KEY, "http://other").check(Verb.WRITE, path, query, now_us=0) == GRANT


def test_an_address_expires() -> None:
    signer = Signer(KEY, "http://host")
    path, query = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied, match="expired"):
        signer.check(Verb.WRITE, path, query, now_us=2_000_000)


def test_an_address_for_writing_does_not_permit_reading() -> None:
    signer = Signer(KEY, "http://host")
    path, query = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied, match="verb"):
        signer.check(Verb.READ, path, query, now_us=0)


@pytest.mark.parametrize("field", ["verb", "expires", "md5", "signature"])
@pytest.mark.parametrize("forged", ["", "0", "r", "ffffffffffffffffffffffffffffffff", "9999999999999999", "ä"])
def test_a_changed_part_is_noticed(field: str, forged: str) -> None:
    signer = Signer(KEY, "http://host")
    path, query = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied):
        signer.check(Verb.WRITE, path, query | {field: forged}, now_us=0)


def test_another_file_is_noticed() -> None:
    signer = Signer(KEY, "http://host")
    _, query = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied, match="signature"):
        signer.check(Verb.WRITE, "uploads/p/d/folder/other", query, now_us=0)


def test_another_key_is_noticed() -> None:
    path, query = opened(Signer(b"another key, also long enough", "http://host").url(GRANT))
    with pytest.raises(PermissionDenied, match="signature"):
        Signer(KEY, "http://host").check(Verb.WRITE, path, query, now_us=0)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Signer(b"short", "http://host")
