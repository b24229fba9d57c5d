"""Literals on their way out: inline while they are small, by a signed address when they are large.

flytekit takes a map that is part of the answer first and opens the address only when there is none, so one of the two
is set and never both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flyteidl.admin import common_pb2
from flyteidl.core import compiler_pb2, literals_pb2

from libs.blob import BlobStore
from libs.blob.store import relative
from libs.runtime.clock import Clock
from libs.store.executions import AttemptRecord
from libs.workflow.errors import ResourceExhausted
from libs.workflow.phases import AttemptPhase
from libs.workflow.state import Data
from services.admin.signing import Grant, Signer, Verb


@dataclass(frozen=True, slots=True)
class Shown:
    """One literal map as an answer has it: both fields of the pair, of which one is empty."""

    full: literals_pb2.LiteralMap
    url: common_pb2.UrlBlob


class Address(NamedTuple):
    """A signed address and when it expires."""

    url: str
    expires_at_us: int


class Literals:
    """Reads stored literal maps for answers."""

    def __init__(
        self,
        blob: BlobStore,
        signer: Signer,
        clock: Clock,
        *,
        shown_bytes: int,
        address_seconds: int,
    ) -> None:
        self._blob = blob
        self._signer = signer
        self._clock = clock
        self._shown_bytes = shown_bytes
        self._address_seconds = address_seconds

    async def show(self, data: Data | None) -> Shown:
        """The map for an answer. Nothing stored is an empty map."""
        shown = Shown(literals_pb2.LiteralMap(), common_pb2.UrlBlob())
        if data is None:
            return shown
        if data.uri is not None and data.size > self._shown_bytes:
            return Shown(shown.full, common_pb2.UrlBlob(url=self.address(data.uri).url, bytes=data.size))
        shown.full.ParseFromString(await self._bytes(data))
        return shown

    async def load(self, data: Data | None, limit_bytes: int) -> literals_pb2.LiteralMap:
        """The map itself. Raises `ResourceExhausted` when it is larger than the limit."""
        if data is None:
            return literals_pb2.LiteralMap()
        if data.size > limit_bytes:
            raise ResourceExhausted(f"literals of {data.size} bytes are larger than the {limit_bytes} allowed here")
        return literals_pb2.LiteralMap.FromString(await self._bytes(data))

    async def closure(self, uri: str) -> compiler_pb2.CompiledWorkflowClosure:
        """The compiled nodes that a dynamic node has asked for. Raises `NotFound` when they are gone."""
        return compiler_pb2.CompiledWorkflowClosure.FromString(await self._blob.read(uri))

    def address(self, uri: str, seconds: int | None = None) -> Address:
        """A signed address for reading a file of the blob store, good for `seconds` (default: the longest allowed)."""
        expires_at_us = self._clock.now_us() + (seconds or self._address_seconds) * 1_000_000
        grant = Grant(Verb.READ, relative(self._blob.root, uri), expires_at_us)
        return Address(self._signer.url(grant), expires_at_us)

    async def _bytes(self, data: Data) -> bytes:
        if data.inline is not None:
            return data.inline
        assert data.uri is not None, "a Data has one of inline and uri"
        return await self._blob.read(data.uri)


def outputs_of(record: AttemptRecord) -> Data | None:
    """The outputs of an attempt: those of its node, if it is the attempt that succeeded."""
    succeeded = record.attempt.phase is AttemptPhase.SUCCEEDED and record.attempt.attempt == record.node.attempt
    return record.node.outputs if succeeded else None
