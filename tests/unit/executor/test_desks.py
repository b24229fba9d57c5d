"""Directories are put back as they were made, whatever a task has made of them, and nothing elsewhere is touched."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from services.executor import datadir
from services.executor.bootstrap import desks

NOBODY = 65534


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is seen of a directory is believed at once."""
    monkeypatch.setattr(desks, "SETTLED_NS", -(10**9))


@pytest.fixture
def desk(tmp_path: Path, settled: None) -> Path:
    return tmp_path / "desk"


def furnished(desk: Path) -> list[desks.Directory]:
    directories = [desks.Directory(*each) for each in desks.make(str(desk), desks.FLYTEKIT | desks.PRIVATE).items()]
    desks.put_back(directories)
    return directories


def found(desk: Path) -> dict[str, int]:
    """All that lies in it, with the mode of each."""
    return {str(path.relative_to(desk)): path.lstat().st_mode for path in (desk, *desk.rglob("*"))}


def as_nobody(work: Callable[[], None]) -> None:
    """Runs it in a process that has no right but those of a user, as most task processes."""
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_directory_is_put_back_however_soon_something_is_left_in_it(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("")
    directory = desks.Directory(str(tmp_path), ["given"])
    for number in range(100):
        (tmp_path / f"left{number}").write_text("")
        directory.put_back()
        assert os.listdir(tmp_path) == ["given"]


def test_a_directory_that_nobody_touches_is_not_looked_through_again(
    tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").write_text("")
    directory = desks.Directory(str(tmp_path), ["given"])
    directory.put_back()
    with monkeypatch.context() as looked:
        looked.delattr(os, "scandir")
        directory.put_back()
    (tmp_path / "left").mkdir()
    directory.put_back()
    assert os.listdir(tmp_path) == ["given"]
    (tmp_path / "given").unlink()
    tmp_path.rmdir()
    directory.put_back()
    assert tmp_path.is_dir()


def test_a_directory_that_was_replaced_or_whose_descriptor_was_closed_is_put_back_all_the_same(
    tmp_path: Path, settled: None
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    directory = desks.Directory(str(place), [])
    directory.put_back()
    place.rename(tmp_path / "elsewhere")
    place.mkdir()
    (place / "left").write_text("")
    directory.put_back()
    assert os.listdir(place) == []
    os.close(directory.descriptor)
    (place / "left").write_text("")
    directory.put_back()
    assert os.listdir(place) == []


@pytest.mark.parametrize("place", ["tmp", "sandbox", ""])
def test_what_a_task_has_put_in_its_place_goes_and_what_a_link_leads_to_is_let_be(
    tmp_path: Path, desk: Path, place: str
) -> None:
    directories = furnished(desk)
    before = found(desk)
    precious = tmp_path / "precious"
    (precious / "deep").mkdir(parents=True)
    (precious / "data").write_text("")
    replacements: list[Callable[[Path], object]] = [
        lambda path: path.symlink_to(precious),
        lambda path: path.symlink_to("/nowhere/at/all"),
        lambda path: path.write_text(""),
        os.mkfifo,
        lambda path: path.mkdir(mode=0),
        lambda path: None,
    ]
    for number, replace in enumerate(replacements):
        (desk / place).rename(tmp_path / f"elsewhere{number}")
        replace(desk / place)
        (precious / f"later{number}").write_text("")
        for _ in range(2):
            desks.put_back(directories)
            assert found(desk) == before
    assert {path.name for path in precious.iterdir()} == {"data", "deep", *(f"later{number}" for number in range(6))}


def test_links_in_a_directory_are_not_followed(tmp_path: Path, desk: Path) -> None:
    directories = furnished(desk)
    before = found(desk)
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o755)
    (precious / "data").write_text("")
    (desk / "tmp" / "left").mkdir()
    for place in ("tmp", "tmp/left"):
        (desk / place / "link").symlink_to(precious)
    desks.put_back(directories)
    assert found(desk) == before
    assert os.listdir(precious) == ["data"] and stat.S_IMODE(precious.stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0, 0o555])
def test_a_user_who_took_his_own_rights_gets_them_back_and_nothing_stays(settled: None, mode: int) -> None:
    def work() -> None:
        with tempfile.TemporaryDirectory() as root:
            desk = Path(root, "desk")
            directories = furnished(desk)
            before = found(desk)
            for place in ("tmp", "home", ""):
                inner = desk / place / "left" / "in" / "here"
                inner.mkdir(parents=True)
                (inner / "file").write_text("")
                for each in (inner, *inner.parents):
                    each.chmod(mode)
                    if each == desk / place:
                        break
                desks.put_back(directories)
                assert found(desk) == before
            (desk / "tmp").chmod(mode)
            desk.chmod(mode)
            datadir.remove(desk)
            assert os.listdir(root) == []

    as_nobody(work)


def test_a_tree_deeper_than_a_stack_or_a_path_can_be_is_removed(settled: None) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:  # in memory: a disk takes a millisecond for each
        desk = Path(root, "desk")
        directories = furnished(desk)
        before = found(desk)
        removals: list[Callable[[], None]] = [lambda: desks.put_back(directories), lambda: datadir.remove(desk)]
        for remove in removals:
            there = os.open(desk / "tmp", os.O_RDONLY)
            for _ in range(3000):
                os.mkdir("deep", dir_fd=there)
                os.mkdir("beside", dir_fd=there)
                below = os.open("deep", os.O_RDONLY, dir_fd=there)
                os.close(there)
                there = below
            os.close(there)
            remove()
            assert not desk.exists() or found(desk) == before
        assert os.listdir(root) == []


def test_what_resists_is_told_when_all_else_is_done(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directories = furnished(desk)
    for place in ("tmp/first", "tmp/left/other", "tmp/resists", "home/left"):
        (desk / place).mkdir(parents=True)
        (desk / place / "file").write_text("")
    unlink = os.unlink

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None and os.readlink(f"/proc/self/fd/{dir_fd}").endswith("/resists"):
            raise OSError(errno.EPERM, "it resists")
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as resisting:
        resisting.setattr(os, "unlink", refuse)
        for _ in range(2):
            with pytest.raises(OSError, match="it resists"):
                desks.put_back(directories)
            assert os.listdir(desk / "home") == [] and os.listdir(desk / "tmp") == ["resists"]
    desks.put_back(directories)
    assert os.listdir(desk / "tmp") == []


def test_a_link_is_removed_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    for name, target in (("link", tmp_path / "precious"), ("dangling", tmp_path / "nowhere")):
        (tmp_path / name).symlink_to(target)
        datadir.remove(tmp_path / name)
    datadir.remove(tmp_path / "missing")
    assert os.listdir(tmp_path) == ["precious"]
