"""Signed addresses: who holds one may read or write exactly one file, until it expires.

An address is a capability. It names the verb, the file, the moment it ends and, for an upload, the MD5 that the content
must have; all of it is covered by an HMAC-SHA256 under the installation's key. Any replica can check what any other
has signed, because the key is the only thing they share. What is *not* covered: how often it is used. An upload
address works until it expires, and as the file's MD5 is part of it, using it twice writes the same bytes.

    http://…/data/verb=r,expires=1767225600000000,signature=…/metadata/propeller/…/outputs.pb

There is no query: flytekit downloads by fsspec, which takes an address with a `?` for a pattern of several files.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from libs.workflow.errors import PermissionDenied

MIN_KEY_BYTES = 16
"""A shorter key could be guessed from one signed address at leisure."""


class Verb(StrEnum):
    """What an address permits. Reading includes asking for the size (HTTP HEAD)."""

    READ = "r"
    WRITE = "w"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one address permits."""

    verb: Verb
    path: str
    """Of the file, relative to the root of the blob store, with `/` between the parts."""
    expires_at_us: int
    md5: bytes = b""
    """Of the content that may be written; empty when the signer did not know it."""


class Signer:
    """Signs grants into addresses below `base_url`, and reads them back."""

    def __init__(self, key: bytes, base_url: str) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"signing key: needs at least {MIN_KEY_BYTES} bytes, has {len(key)}")
        self._key = key
        self._base_url = base_url.rstrip("/")

    def url(self, grant: Grant) -> str:
        """The address that carries the grant."""
        claims = [f"verb={grant.verb}", f"expires={grant.expires_at_us}"]
        if grant.md5:
            claims.append(f"md5={grant.md5.hex()}")
        claims.append(f"signature={self._signature(grant)}")
        return f"{self._base_url}/data/{','.join(claims)}/{quote(grant.path)}"

    def check(self, verb: Verb, claims: str, path: str, now_us: int) -> Grant:
        """The grant that an address with these claims and this path carries.

        Raises `PermissionDenied` when it was signed for something else, by somebody else, or for another time. The
        signature is checked first, so that a forger learns nothing from the message.
        """
        claimed = dict(claim.partition("=")[::2] for claim in claims.split(","))
        try:
            grant = Grant(
                verb=Verb(claimed.get("verb", "")),
                path=path,
                expires_at_us=int(claimed.get("expires", "")),
                md5=bytes.fromhex(claimed.get("md5", "")),
            )
        except ValueError:
            raise PermissionDenied("signature: this address is not one of ours") from None
        given = claimed.get("signature", "").encode("utf-8", "replace")
        if not hmac.compare_digest(self._signature(grant).encode("ascii"), given):
            raise PermissionDenied("signature: does not match this address")
        if grant.verb is not verb:
            raise PermissionDenied("verb: this address was signed for another use")
        if grant.expires_at_us <= now_us:
            raise PermissionDenied("expires: this address has expired")
        return grant

    def _signature(self, grant: Grant) -> str:
        # The path is quoted, the others are numbers and hexadecimal digits: no part contains the newline between them,
        # so no two grants have the same text.
        text = "\n".join(
            (
                grant.verb.value,
                str(grant.expires_at_us),
                grant.md5.hex(),
                quote(grant.path),
            )
        )
        digest = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
