"""The map on disk: every prefix of its file is a state that it once had."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from services.executor import recordlog
from services.executor.recordlog import RecordLog


def reopened(path: Path) -> dict[bytes, bytes]:
    log = RecordLog(path)
    log.close()
    return log.entries


def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "log")
    log.append([(b"a", b"1"), (b"b", b"")], sync=True)
    log.append([(b"a", None), (b"c", b"3")], sync=False)
    log.close()
    assert reopened(tmp_path / "log") == {b"b": b"", b"c": b"3"}


def test_a_file_cut_anywhere_reads_as_a_state_that_it_had(tmp_path: Path) -> None:
    path, dice = tmp_path / "log", random.Random(3)
    log = RecordLog(path)
    states: list[dict[bytes, bytes]] = [{}]
    for _ in range(60):
        key = bytes([dice.randrange(5)])
        log.append([(key, dice.choice([None, dice.randbytes(dice.randrange(20))]))], sync=False)
        states.append(dict(log.entries))
    log.close()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert reopened(path) in states
    path.write_bytes(whole)
    assert reopened(path) == states[-1]


def test_a_torn_end_does_not_hide_what_is_appended_after_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    log.append([(b"a", b"1")], sync=False)
    log.append([(b"b", b"2")], sync=False)
    log.close()
    path.write_bytes(path.read_bytes()[:-1])
    log = RecordLog(path)
    log.append([(b"c", b"3")], sync=False)
    log.close()
    assert reopened(path) == {b"a": b"1", b"c": b"3"}


def test_a_damaged_record_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    log.append([(b"a", b"1"), (b"b", b"2")], sync=False)
    log.close()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert reopened(path) == {b"a": b"1"}


def test_the_file_stays_small_however_much_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    log.append([(b"kept", b"x")], sync=False)
    for number in range(200):
        log.append([(b"replaced", bytes([number]) * 50_000)], sync=False)
    assert path.stat().st_size < 3 << 20
    assert log.live_bytes < 60_000
    log.close()
    assert reopened(path) == {b"kept": b"x", b"replaced": bytes([199]) * 50_000}


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    log.append([(b"a", b"1")], sync=True)
    write = os.write

    def half(file: int, data: bytes) -> int:
        write(file, bytes(data)[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recordlog.os, "write", half)
    with pytest.raises(OSError, match="No space"):
        log.append([(b"b", b"2")], sync=True)
    monkeypatch.undo()
    assert log.entries == {b"a": b"1"}
    log.append([(b"c", b"3")], sync=True)
    log.close()
    assert reopened(path) == {b"a": b"1", b"c": b"3"}
