"""Signed addresses permit exactly what was signed."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest

from libs.workflow.errors import PermissionDenied
from services.admin.signing import Grant, Signer, Verb

KEY = b"a key of at least sixteen bytes"
GRANT = Grant(Verb.WRITE, "uploads/p/d/folder/ä file.tar.gz", 2_000_000, bytes(16))


def opened(url: str) -> tuple[str, str]:
    """Claims and path of an address, as a server sees them."""
    _, _, rest = url.partition("/data/")
    claims, _, path = unquote(rest).partition("/")
    return claims, path


def test_an_address_carries_its_grant_back() -> None:
    signer = Signer(KEY, "http://host:1/")
    claims, path = opened(signer.url(GRANT))
    assert signer.check(Verb.WRITE, claims, path, now_us=1_999_999) == GRANT


def test_every_replica_with_the_key_accepts_an_address() -> None:
    claims, path = opened(Signer(KEY, "http://one").url(GRANT))
    assert Signer(KEY, "http://other").check(Verb.WRITE, claims, path, now_us=0) == GRANT


def test_an_address_expires() -> None:
    signer = Signer(KEY, "http://host")
    claims, path = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied, match="expired"):
        signer.check(Verb.WRITE, claims, path, now_us=2_000_000)


def test_an_address_for_writing_does_not_permit_reading() -> None:
    signer = Signer(KEY, "http://host")
    claims, path = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied, match="verb"):
        signer.check(Verb.READ, claims, path, now_us=0)


@pytest.mark.parametrize("field", ["verb", "expires", "md5", "signature"])
@pytest.mark.parametrize("forged", ["", "0", "r", "ffffffffffffffffffffffffffffffff", "9999999999999999", "ä"])
def test_a_changed_part_is_noticed(field: str, forged: str) -> None:
    signer = Signer(KEY, "http://host")
    claims, path = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied):
        signer.check(Verb.WRITE, re.sub(rf"{field}=[^,]*", f"{field}={forged}", claims), path, now_us=0)


def test_an_address_has_no_query_because_fsspec_would_take_it_for_a_pattern() -> None:
    assert not set("*?[]") & set(Signer(KEY, "http://host").url(Grant(Verb.READ, "a [b] *?.csv", 1)))


def test_another_file_is_noticed() -> None:
    signer = Signer(KEY, "http://host")
    claims, _ = opened(signer.url(GRANT))
    with pytest.raises(PermissionDenied, match="signature"):
        signer.check(Verb.WRITE, claims, "uploads/p/d/folder/other", now_us=0)


def test_another_key_is_noticed() -> None:
    claims, path = opened(Signer(b"another key, also long enough", "http://host").url(GRANT))
    with pytest.raises(PermissionDenied, match="signature"):
        Signer(KEY, "http://host").check(Verb.WRITE, claims, path, now_us=0)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Signer(b"short", "http://host")
