"""Final reports on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from libs.wire import codec
from libs.wire.session import Ack, Report, ReportPhase
from libs.workflow.identity import AttemptId
from libs.workflow.state import Data
from services.executor import recordlog
from services.executor.spool import Spool


def open_spool(path: Path, limit_bytes: int = 1 << 20) -> Spool:
    return Spool(path / "spool", limit_bytes, codec.report_to_bytes, codec.report_from_bytes)


def report(attempt: int, seq: int = 3) -> Report:
    return Report(
        AttemptId(1, "n0-0-n1", attempt),
        seq,
        ReportPhase.SUCCEEDED,
        at_us=5,
        outputs=Data.of(b"\n\0"),
        reason="x",
        deck_uri="/deck",
        started_us=4,
    )


async def test_a_report_survives_a_restart_until_it_is_acknowledged(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.add(report(0))
    spool.add(report(1))
    await spool.flush()
    assert not spool.acknowledge(Ack(report(0).id, 2)), "an acknowledgement of an earlier report is none"
    assert spool.acknowledge(Ack(report(0).id, 3))
    assert not spool.acknowledge(Ack(report(0).id, 3))
    await spool.close()

    spool = open_spool(tmp_path)
    assert list(spool.reports()) == [report(1)] and report(1).id in spool and spool.find(report(0).id) is None
    await spool.close()


async def test_reports_that_come_together_share_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes = []
    append = recordlog.RecordLog.append

    def counted(self: Any, changes: Any, *, sync: bool) -> None:
        flushes.append(len(list(changes)))
        append(self, changes, sync=sync)

    monkeypatch.setattr(recordlog.RecordLog, "append", counted)
    spool = open_spool(tmp_path)

    async def keep(number: int) -> None:
        spool.add(report(number))
        await spool.flush()

    await asyncio.gather(*map(keep, range(100)))
    assert sum(flushes) == 100 and len(flushes) <= 3
    await spool.close()


async def test_a_disk_that_refuses_is_trouble_until_it_takes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(recordlog.RecordLog, "append", refuse)
        spool.add(report(0))
        await spool.flush()
        assert "No space" in spool.trouble and list(spool.reports()) == [report(0)]
        assert spool.acknowledge(Ack(report(0).id, 3))
    spool.add(report(1))
    await spool.flush()
    assert spool.trouble == ""
    await spool.close()
    assert list(open_spool(tmp_path).reports()) == [report(1)]


async def test_too_many_reports_are_trouble_but_none_is_dropped(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, limit_bytes=100)
    for number in range(3):
        spool.add(report(number))
    await spool.flush()
    assert "3 reports" in spool.trouble and len(spool) == 3
    for number in range(3):
        spool.acknowledge(Ack(report(number).id, 3))
    await spool.flush()
    assert spool.trouble == ""
    await spool.close()
