"""The journal: used numbers, epochs, and processes of an earlier life."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from libs.workflow.identity import AttemptId
from services.executor import processes
from services.executor.journal import Journal
from services.executor.processes import ProcessId

ID = AttemptId(1, "n0", 0)
OTHER = AttemptId(1, "n1", 2)


def test_what_was_begun_and_not_ended_is_lost_with_the_executor(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin(ID)
    journal.started(ID, ProcessId(42, 7, "boot"))
    journal.begin(OTHER)
    journal.begin(AttemptId(1, "n2", 0))
    journal.end(AttemptId(1, "n2", 0))
    journal.close()
    lost = {each.id: each.supervisor for each in Journal(tmp_path / "journal").lost}
    assert lost == {ID: ProcessId(42, 7, "boot"), OTHER: None}


def test_an_epoch_only_rises_and_is_remembered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.epoch(0) == 0
    journal.raise_epoch(0, 5)
    journal.raise_epoch(0, 4)
    journal.close()
    journal = Journal(tmp_path / "journal")
    assert journal.epoch(0) == 5
    journal.raise_epoch(1, 9)


async def test_reaping_ends_known_supervisors_and_whoever_names_the_scratch_directory(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    known = subprocess.Popen(["sleep", "600"])
    named = subprocess.Popen(["sleep", "600"], env={"TMPDIR": f"{scratch}/1-n0-0/tmp"})
    stranger = subprocess.Popen(["sleep", "600"], env={"TMPDIR": f"{scratch}-of-somebody-else/tmp"})
    try:
        journal = Journal(tmp_path / "journal")
        journal.begin(ID)
        journal.started(ID, ProcessId.of(known.pid))
        journal.close()
        journal = Journal(tmp_path / "journal")
        await journal.reap(scratch)
        assert known.wait(5) == named.wait(5) == -9
        assert stranger.poll() is None
        assert Journal(tmp_path / "journal").lost == ()
        assert [each.id for each in journal.lost] == [ID], "the number stays used in this life"
    finally:
        for process in (known, named, stranger):
            process.kill()
            process.wait()


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
