"""The journal: used numbers, epochs, and processes of an earlier life."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from libs.workflow.identity import AttemptId
from services.executor import processes, recordlog
from services.executor.journal import Journal
from services.executor.processes import ProcessId

ID = AttemptId(1, "n0", 0)
OTHER = AttemptId(1, "n1", 2)


def test_what_was_begun_and_not_ended_is_lost_with_the_executor(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "life")
    journal.begin(ID)
    journal.started(ID, ProcessId(42, 7, "boot"))
    journal.begin(OTHER)
    journal.begin(AttemptId(1, "n2", 0))
    journal.end(AttemptId(1, "n2", 0))
    journal.close()
    lost = {each.id: each.supervisor for each in Journal(tmp_path / "journal", "life").lost}
    assert lost == {ID: ProcessId(42, 7, "boot"), OTHER: None}


def test_an_epoch_only_rises_and_is_remembered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "life")
    assert journal.epoch(0) == 0
    journal.raise_epoch(0, 5)
    journal.raise_epoch(0, 4)
    journal.close()
    journal = Journal(tmp_path / "journal", "life")
    assert journal.epoch(0) == 5
    journal.raise_epoch(1, 9)


async def test_reaping_ends_known_supervisors_and_whoever_names_the_scratch_directory(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    known = subprocess.Popen(["sleep", "600"])
    named = subprocess.Popen(["sleep", "600"], env={"TMPDIR": f"{scratch}/1-n0-0/tmp"})
    stranger = subprocess.Popen(["sleep", "600"], env={"TMPDIR": f"{scratch}-of-somebody-else/tmp"})
    try:
        journal = Journal(tmp_path / "journal", "life")
        journal.begin(ID)
        journal.started(ID, ProcessId.of(known.pid))
        journal.close()
        journal = Journal(tmp_path / "journal", "life")
        await journal.reap(scratch)
        assert known.wait(5) == named.wait(5) == -9
        assert stranger.poll() is None
        assert Journal(tmp_path / "journal", "life").lost == ()
        assert [each.id for each in journal.lost] == [ID], "the number stays used in this life"
    finally:
        for process in (known, named, stranger):
            process.kill()
            process.wait()


def test_what_had_begun_is_known_of_the_life_before_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_life(name: str) -> Journal:
        journal = Journal(tmp_path / "journal", name)
        journal.close()
        return journal

    assert next_life("a").former == ""
    assert next_life("b").former == "a"
    monkeypatch.setattr(processes, "boot_id", lambda: "another start of the machine")
    assert next_life("c").former == "", "what was not flushed may be missing"
    assert next_life("d").former == "c"


def test_a_life_that_the_disk_has_refused_is_written_with_the_first_that_begins_in_it(tmp_path: Path) -> None:
    class Disk(recordlog.RecordLog):
        full = False

        def append(self, changes: Iterable[recordlog.Change], *, sync: bool) -> None:
            if Disk.full:
                raise OSError("no space left on device")
            super().append(changes, sync=sync)

    Journal(tmp_path / "journal", "a").close()
    Disk.full = True
    journal = Journal(tmp_path / "journal", "b", Disk)
    assert not journal.begin(ID), "it may not begin: nobody would know later"
    assert Journal(tmp_path / "journal", "x", Disk).former == "a", "nothing has happened in b"
    Disk.full = False
    assert journal.begin(OTHER)
    journal.close()
    later = Journal(tmp_path / "journal", "c")
    assert (later.former, [each.id for each in later.lost]) == ("b", [OTHER])


async def test_a_process_id_that_was_given_again_is_another_process(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "600"])
    try:
        found = ProcessId.of(process.pid)
        assert found is not None and found.alive() and ProcessId.parse(str(found)) == found
        earlier = ProcessId(found.pid, found.started - 1, found.boot)
        assert not earlier.alive() and not ProcessId(found.pid, found.started, "another boot").alive()
        assert await processes.end_all(tmp_path / "scratch", (earlier,))
        assert process.poll() is None
    finally:
        process.kill()
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not found.alive(), "a zombie is not alive"
    process.wait()
