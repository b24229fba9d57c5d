"""What an executor takes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from libs.runtime.clock import SystemClock
from libs.wire import codec
from libs.wire.session import Report, ReportPhase
from libs.workflow.identity import AttemptId
from services.executor.attempts import Attempts
from services.executor.recordlog import Change, RecordLog
from services.executor.slots import SlotPool
from services.executor.spool import Spool


class _FullDisk(RecordLog):
    full = True

    def append(self, changes: Iterable[Change], *, sync: bool) -> None:
        if self.full:
            raise OSError("no space left on device")
        super().append(changes, sync=sync)


async def test_an_executor_whose_disk_has_room_again_takes_work_again_without_having_had_any(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 1 << 20, codec.report_to_bytes, codec.report_from_bytes, _FullDisk)
    bench: Any = SimpleNamespace(
        journal=SimpleNamespace(lost=()), settings=SimpleNamespace(echo_seconds=0.0), clock=SystemClock()
    )
    disk: Any = SimpleNamespace(trouble=lambda: "")
    async with asyncio.TaskGroup() as group:
        attempts = Attempts(bench, SlotPool(1000, 1 << 30, ()), spool, disk, group)
        spool.add(Report(AttemptId(1, "n0", 0), 3, ReportPhase.SUCCEEDED, at_us=1))
        await spool.flush()
        assert "no space left" in attempts.trouble()
        _FullDisk.full = False
        attempts.write_again()
    assert not attempts.trouble()
    await spool.close()
