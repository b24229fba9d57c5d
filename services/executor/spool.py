"""Final reports, durable until the leader has committed them (promise P5).

A report is kept before it is sent and forgotten when it is acknowledged; what is left at a restart goes into the next
Hello. Many attempts end at once, and a flush to disk takes about as long however much it carries: so whoever comes
while one is under way shares the next.

A disk that refuses is no reason to keep a result back: the report is sent from memory, and `trouble` stops new work.
What is lost then, if the executor dies too, is the attempt, which the leader starts again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from libs.wire.session import Ack, Report
from libs.workflow.identity import AttemptId
from services.executor import recordlog

logger = logging.getLogger(__name__)

_SMALL_BYTES = 100
"""What a report takes beside its outputs."""


class Spool:
    """Reports by attempt. Opening reads the disk; `encode` and `decode` say how a report lies there."""

    def __init__(
        self,
        path: Path,
        limit_bytes: int,
        encode: Callable[[Report], bytes],
        decode: Callable[[bytes], Report],
        open_log: Callable[[Path], recordlog.RecordLog] = recordlog.RecordLog,
    ) -> None:
        self._log = open_log(path)
        self._limit_bytes = limit_bytes
        self._encode = encode
        self._reports: dict[AttemptId, Report] = {}
        for data in self._log.entries.values():
            try:
                report = decode(data)
            except (DecodeError, ValueError):
                logger.exception("a spooled report cannot be read and is left out")
            else:
                self._reports[report.id] = report
        self._in_memory: dict[AttemptId, int] = {}
        """Of which reports nothing is on disk, and about how many bytes each has."""
        self._in_memory_bytes = 0
        self._unwritten: list[recordlog.Change] = []
        self._writing = asyncio.Lock()
        self._failure = ""

    def __len__(self) -> int:
        return len(self._reports)

    def __contains__(self, id: AttemptId) -> bool:
        return id in self._reports

    @property
    def trouble(self) -> str:
        """Why nothing new should be started, or nothing."""
        if self._failure:
            return f"reports cannot be written to disk: {self._failure}"
        if self._log.live_bytes + self._in_memory_bytes > self._limit_bytes:
            return f"{len(self)} reports wait to be acknowledged, more than {self._limit_bytes} bytes"
        return ""

    @property
    def is_refused(self) -> bool:
        """Whether the disk has refused the last write, and nobody is trying again."""
        return bool(self._failure) and not self._writing.locked()

    def reports(self) -> Iterable[Report]:
        return self._reports.values()

    def find(self, id: AttemptId) -> Report | None:
        return self._reports.get(id)

    def add(self, report: Report) -> None:
        """Keeps the report in memory, and on disk from the next `flush` on."""
        self._reports[report.id] = report
        self._unwritten.append((_key(report.id), self._encode(report)))

    def keep(self, report: Report) -> None:
        """Keeps the report in memory only: what it tells may be lost with the executor."""
        self._reports[report.id] = report
        self._in_memory[report.id] = size = _SMALL_BYTES + (0 if report.outputs is None else report.outputs.size)
        self._in_memory_bytes += size

    def acknowledge(self, ack: Ack) -> bool:
        """Forgets the report that `ack` is about; whether there was one. On disk it goes with the next write.

        If that write never comes, the report is sent once more after a restart, and acknowledged once more.
        """
        report = self._reports.get(ack.id)
        if report is None or report.seq > ack.seq:
            return False
        del self._reports[ack.id]
        if ack.id in self._in_memory:
            self._in_memory_bytes -= self._in_memory.pop(ack.id)
        else:
            self._unwritten.append((_key(ack.id), None))
        return True

    async def flush(self) -> bool:
        """Returns when everything added so far is on disk; False when the disk has refused it (see `trouble`)."""
        async with self._writing:
            changes, self._unwritten = self._unwritten, []
            if not changes:
                return True  # somebody wrote ours while we waited
            try:
                await asyncio.to_thread(self._log.append, changes, sync=True)
            except OSError as error:
                if not self._failure:
                    logger.error("reports cannot be written to disk: %s", error)
                self._failure = str(error)
                self._unwritten = changes + self._unwritten  # in order: a later removal must stay later
                return False
            self._failure = ""
            return True

    async def close(self) -> None:
        await self.flush()
        self._log.close()


def _key(id: AttemptId) -> bytes:
    return f"{id.execution}/{id.node}/{id.attempt}".encode()
