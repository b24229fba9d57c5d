"""What every blob store can do.

A blob is named by its uri, which is what task code sees too: a plain absolute path in a directory (flytekit cannot read
`file://`), `s3://bucket/key` and its like in a cloud. A blob appears whole or not at all; writing it again replaces it.
Two writers of one uri: the last one stands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, Protocol

from libs.workflow.errors import InvalidArgument


class Usage(NamedTuple):
    """How much there is."""

    blobs: int = 0
    bytes: int = 0

    def plus(self, other: Usage) -> Usage:
        return Usage(self.blobs + other.blobs, self.bytes + other.bytes)


class BlobStore(Protocol):
    """Blobs below one root.

    Every method raises InvalidArgument for a uri that is not below the root, Unavailable when the store does not
    answer, and ResourceExhausted when it is full.
    """

    @property
    def root(self) -> str:
        """The uri of the store itself, without a slash at the end."""

    def join(self, *parts: str) -> str:
        """The uri of what lies at `parts` below the root; a part may hold slashes."""

    def contains(self, uri: str) -> bool:
        """Whether `uri` is below the root, by its name alone."""

    async def read(self, uri: str, limit_bytes: int | None = None) -> bytes:
        """The whole blob. Raises NotFound, and ResourceExhausted when it is larger than the limit."""

    def stream(self, uri: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The blob from a byte on, in pieces; nothing when it is not longer than that. Raises NotFound."""

    async def size(self, uri: str) -> int | None:
        """Length in bytes, None when there is no such blob."""

    async def write(self, uri: str, data: bytes) -> None:
        """Stores a blob."""

    async def write_file(self, uri: str, file: Path) -> None:
        """Stores what a file of this machine holds, which may be more than fits into memory."""

    async def list(self, uri_prefix: str) -> list[str]:
        """The uris of all blobs below a uri, in order. Whole path segments: `a/b` does not find `a/bc`."""

    async def measure(self, uri_prefix: str) -> Usage:
        """How many blobs there are below a uri, and their size. Whole path segments, as in `list`."""

    async def delete_prefix(self, uri: str) -> Usage:
        """Removes the blob `uri` and all blobs below it, and says how much that was; harmless when there are none.

        Links are removed, never followed. Refuses the root.
        """


def joined(root: str, *parts: str) -> str:
    """`parts` below `root`. Raises InvalidArgument for a path that leads elsewhere."""
    uri = "/".join([root, *(part.strip("/") for part in parts)])
    relative(root, uri)
    return uri


def relative(root: str, uri: str) -> str:
    """The path of `uri` below `root`, empty for the root itself. Raises InvalidArgument when it is not below it."""
    if uri == root:
        return ""
    path = uri.removeprefix(f"{root}/")
    # An empty segment, `.` and `..` name another blob than they seem to.
    if path == uri or any(segment in ("", ".", "..") for segment in path.split("/")) or "\0" in path:
        raise InvalidArgument(f"{uri!r} is not a path below {root}")
    return path


def is_below(root: str, uri: str) -> bool:
    """Whether `relative` accepts it."""
    try:
        relative(root, uri)
    except InvalidArgument:
        return False
    return True


def require_below(root: str, uri: str) -> str:
    """As `relative`, and refuses the root too."""
    path = relative(root, uri)
    if not path:
        raise InvalidArgument(f"{uri!r} is the whole store")
    return path
