"""What a simulated process has of its machine: clocks that may be wrong, disks, and the blob store that all share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from libs.blob import store as blobs
from libs.workflow.errors import NotFound, ResourceExhausted, Unavailable
from services.executor.recordlog import Change
from tests.support.simulation.loop import Process, VirtualLoop

EPOCH_SECONDS = 1_800_000_000


class Clock:
    """The clocks of one machine."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.wrong = 0.0
        """How far the wall clock is off."""
        self.stood = 0.0
        """How long the monotonic clock stood still, as it does while a machine is suspended."""

    def now_us(self) -> int:
        return round((EPOCH_SECONDS + self._loop.time() + self.wrong) * 1e6)

    def monotonic(self) -> float:
        return self._loop.time() - self.stood


class MemoryLog:
    """A `RecordLog` whose file outlives the process, not the simulation."""

    def __init__(self, machine: Machine, path: Path, process: Process) -> None:
        self.entries = machine.files.setdefault(path.name, {})
        self._machine = machine
        self._process = process

    @property
    def live_bytes(self) -> int:
        return sum(len(key) + len(value) for key, value in self.entries.items())

    def append(self, changes: Iterable[Change], *, sync: bool) -> None:
        if self._process.dead:
            return
        if self._machine.full:
            raise OSError("the disk is full")
        for key, value in changes:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    def close(self) -> None:
        """Nothing is open."""


class Machine:
    """Clocks and disk of one process, over all its lives."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = Clock(loop)
        self.files: dict[str, dict[bytes, bytes]] = {}
        self.full = False

    def free_bytes(self) -> int:
        return 0 if self.full else 1 << 30

    def trouble(self) -> str:
        return "the disk is full" if self.full else ""


class Bucket:
    """Where all blobs lie."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.blobs: dict[str, bytes] = {}
        self.away = False
        self.failing = 0.0


class MemoryBlobs:
    """The blob store, as one process reaches it."""

    root = "/blob"

    def __init__(self, bucket: Bucket, process: Process) -> None:
        self._bucket = bucket
        self._process = process

    def join(self, *parts: str) -> str:
        return blobs.joined(self.root, *parts)

    def contains(self, uri: str) -> bool:
        return blobs.is_below(self.root, uri)

    async def read(self, uri: str, limit_bytes: int | None = None) -> bytes:
        await self._travel()
        data = self._bucket.blobs.get(uri)
        if data is None:
            raise NotFound(f"{uri} does not exist")
        if limit_bytes is not None and len(data) > limit_bytes:
            raise ResourceExhausted(f"{uri} is too large")
        return data

    async def stream(self, uri: str, offset: int = 0) -> AsyncIterator[bytes]:
        yield (await self.read(uri))[offset:]

    async def size(self, uri: str) -> int | None:
        await self._travel()
        data = self._bucket.blobs.get(uri)
        return None if data is None else len(data)

    async def write(self, uri: str, data: bytes) -> None:
        await self._travel()
        self._bucket.blobs[uri] = data
        if self._bucket.dice.random() < self._bucket.failing:
            raise Unavailable("the blob store's answer was lost")

    async def list(self, uri_prefix: str) -> list[str]:
        await self._travel()
        return sorted(uri for uri in self._bucket.blobs if uri.startswith(f"{uri_prefix}/"))

    async def measure(self, uri_prefix: str) -> blobs.Usage:
        sizes = [len(self._bucket.blobs[uri]) for uri in await self.list(uri_prefix)]
        return blobs.Usage(len(sizes), sum(sizes))

    async def write_file(self, uri: str, file: Path) -> None:
        await self.write(uri, await asyncio.to_thread(file.read_bytes))

    async def delete_prefix(self, uri: str) -> blobs.Usage:
        found = [self._bucket.blobs.pop(found, None) for found in [uri, *await self.list(uri)]]
        sizes = [len(blob) for blob in found if blob is not None]
        return blobs.Usage(len(sizes), sum(sizes))

    async def _travel(self) -> None:
        dice = self._bucket.dice
        await asyncio.sleep(dice.random() * 0.01)
        if self._process.dead:
            raise asyncio.CancelledError
        if self._bucket.away or dice.random() < self._bucket.failing:
            raise Unavailable("the blob store does not answer")
