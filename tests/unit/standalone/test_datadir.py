from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from services.standalone import datadir
from services.standalone.settings import CannotStart


def test_one_system_at_a_time_uses_a_directory(tmp_path: Path) -> None:
    refused = pytest.raises(CannotStart, match=f"another airscrew \\(process {os.getpid()}\\) uses")
    with datadir.opened(tmp_path / "data"), refused, datadir.opened(tmp_path / "data"):
        pass

    with datadir.opened(tmp_path / "data"):
        pass  # free again


def _die_holding(path: Path) -> None:
    with datadir.opened(path):
        os._exit(9)


def test_the_lock_of_a_process_that_died_is_gone(tmp_path: Path) -> None:
    holder = multiprocessing.get_context("spawn").Process(target=_die_holding, args=(tmp_path / "data",))
    holder.start()
    holder.join()
    assert holder.exitcode == 9

    with datadir.opened(tmp_path / "data"):
        pass


def test_a_directory_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(CannotStart, match="not made by airscrew"), datadir.opened(tmp_path):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_reset_deletes_what_starts_have_left_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    with datadir.opened(tmp_path / "data") as data:
        data.database.touch()
        data.executor("executor").joinpath("spool").touch()
        data.secret("session-token")
        (data.root / "notes.txt").touch()
        data.blobs.symlink_to(outside)

        data.reset()

        assert sorted(path.name for path in data.root.iterdir()) == ["airscrew.lock", "notes.txt"]
    assert (outside / "precious").exists(), "links are removed, not followed"


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    with datadir.opened(tmp_path / "data") as data:
        path = data.secret("signing-key")
        first = path.read_text()

        assert data.secret("signing-key").read_text() == first
        assert len(first.strip()) == 64
        assert data.secret("session-token").read_text() != first
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_logs_of_earlier_starts_are_kept_for_a_few_generations(tmp_path: Path) -> None:
    with datadir.opened(tmp_path / "data") as data:
        for start in range(6):
            data.rotate_log("admin").write_text(f"start {start}")

        folder = data.log("admin").parent
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            "admin.log": "start 5",
            "admin.log.1": "start 4",
            "admin.log.2": "start 3",
            "admin.log.3": "start 2",
        }


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    datadir.write_at_once(path, "old")
    datadir.write_at_once(path, "new")

    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
