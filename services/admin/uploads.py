"""Uploads: where a client's file will lie, and whether what arrives is what was announced.

Shapes that flytekit sends: code (file name and MD5), pickled entities (the same), local files and directories (also a
`filename_root` that groups them) and data frames (only `filename_root`; the name is ours to invent). A file named by
the MD5 of its content never changes. Where a client chooses the folder, an existing file is only offered for writing
again if its content is the same, so that a reference that somebody holds keeps its meaning.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from flyteidl.service import dataproxy_pb2
from google.protobuf import duration_pb2

from libs.blob import BlobStore, layout
from libs.blob.store import relative
from libs.runtime.clock import Clock
from libs.workflow.errors import AlreadyExists, InvalidArgument
from services.admin.projects import Projects
from services.admin.signing import Grant, Signer, Verb

_NOT_IN_A_NAME = re.compile(r"[/\\\x00-\x1f\x7f]")
_MAX_NAME_BYTES = 255
"""What file systems take."""
_MD5_BYTES = 16


@dataclass(frozen=True, slots=True)
class Location:
    """Where to send a file and what it will be called."""

    signed_url: str
    native_url: str
    expires_at_us: int


class Uploads:
    """Decides on locations and signs them."""

    def __init__(
        self,
        blob: BlobStore,
        signer: Signer,
        projects: Projects,
        clock: Clock,
        entropy: Callable[[int], bytes],
        *,
        address_seconds: int,
    ) -> None:
        self._blob = blob
        self._signer = signer
        self._projects = projects
        self._clock = clock
        self._entropy = entropy
        self._address_seconds = address_seconds

    async def locate(self, request: dataproxy_pb2.CreateUploadLocationRequest) -> Location:
        """Signs an upload. `InvalidArgument` for a request that names neither MD5 nor `filename_root`, or a name that
        is not one part of a path; `AlreadyExists` where other content lies already."""
        seconds = expiry_seconds(request.expires_in, self._address_seconds)
        folder, filename = self._folder(request), self._filename(request)
        await self._projects.use(request.project, request.domain)
        uri = layout.upload_uri(self._blob.root, request.project, request.domain, folder, filename)
        if request.filename and request.filename_root:
            await self._refuse_other_content(uri, request.content_md5)
        expires_at_us = self._clock.now_us() + seconds * 1_000_000
        grant = Grant(Verb.WRITE, relative(self._blob.root, uri), expires_at_us, request.content_md5)
        return Location(self._signer.url(grant), uri, expires_at_us)

    def _folder(self, request: dataproxy_pb2.CreateUploadLocationRequest) -> str:
        if request.content_md5 and len(request.content_md5) != _MD5_BYTES:
            raise InvalidArgument(f"content_md5: has {len(request.content_md5)} bytes, an MD5 has {_MD5_BYTES}")
        if request.filename_root:
            return _one_part(request.filename_root, "filename_root")
        if not request.content_md5:
            raise InvalidArgument("content_md5: missing, and so is filename_root: one of them must be given")
        return base64.b32encode(request.content_md5).rstrip(b"=").decode("ascii")

    def _filename(self, request: dataproxy_pb2.CreateUploadLocationRequest) -> str:
        if request.filename:
            return _one_part(request.filename, "filename")
        return self._entropy(10).hex()

    async def _refuse_other_content(self, uri: str, md5: bytes) -> None:
        if await self._blob.size(uri) is None:
            return
        if not md5:
            raise AlreadyExists(f"filename: {uri} exists already, and without content_md5 it can't be compared")
        digest = hashlib.md5(usedforsecurity=False)
        async for chunk in self._blob.stream(uri):
            digest.update(chunk)
        if digest.digest() != md5:
            raise AlreadyExists(f"content_md5: {uri} exists already with other content")


def expiry_seconds(asked: duration_pb2.Duration, longest: int) -> int:
    """How long an address will work: what was asked, in whole seconds, or the longest when nothing was."""
    seconds = asked.seconds + (asked.nanos > 0)
    if asked.seconds < 0 or asked.nanos < 0 or seconds > longest:
        raise InvalidArgument(f"expires_in: {asked.seconds + asked.nanos / 1e9:g} s is not between 0 and {longest} s")
    return seconds or longest


def check_content(content: bytes, announced_md5: bytes, header_md5: str | None) -> None:
    """Raises `InvalidArgument` unless the content has the MD5 of the address and of the `Content-MD5` header, where
    they are given."""
    actual = hashlib.md5(content, usedforsecurity=False).digest()
    if announced_md5 and actual != announced_md5:
        raise InvalidArgument(f"content_md5: {actual.hex()} arrived, {announced_md5.hex()} was announced")
    if header_md5 is None:
        return
    try:
        header = base64.b64decode(header_md5, validate=True)
    except ValueError:
        raise InvalidArgument("Content-MD5: is not base64") from None
    if actual != header:
        raise InvalidArgument(f"Content-MD5: {actual.hex()} arrived, the header says {header.hex()}")


def _one_part(value: str, field: str) -> str:
    if value in (".", "..") or _NOT_IN_A_NAME.search(value):
        raise InvalidArgument(f"{field}: {value!r} must be one plain name, without separators or control characters")
    if len(value.encode()) > _MAX_NAME_BYTES:
        raise InvalidArgument(f"{field}: has {len(value.encode())} bytes, at most {_MAX_NAME_BYTES} are allowed")
    return value
