"""What is put into huge pages stays what it was."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.executor.bootstrap import hugepages, zygote

SIZE = 4 * hugepages.HUGE_BYTES
CONTENT = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    """So much in small pages that some places for huge ones are in it."""
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        memory[:] = CONTENT
        yield memory


def huge_bytes() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"AnonHugePages:\s+(\d+) kB", rollup)
    assert found
    return int(found[1]) << 10


def test_what_lies_in_small_pages_lies_in_huge_ones_afterwards_unchanged(memory: mmap.mmap) -> None:
    memory.madvise(mmap.MADV_HUGEPAGE)
    before = huge_bytes()
    assert hugepages.gather() >= SIZE - hugepages.HUGE_BYTES
    assert memory[:] == CONTENT
    if huge_bytes() == before:
        pytest.skip("this kernel gathers no huge pages")
    assert huge_bytes() - before >= SIZE - hugepages.HUGE_BYTES


def resident_pages(address: int, size: int) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(address // page * 8)
        entries = struct.unpack(f"={size // page}Q", file.read(size // page * 8))
    return sum(entry >> 63 for entry in entries)


def test_memory_that_is_mostly_not_there_does_not_come_to_be() -> None:
    size = 16 * hugepages.HUGE_BYTES
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as sparse:
        sparse.madvise(mmap.MADV_NOHUGEPAGE)
        for place in range(0, size, hugepages.HUGE_BYTES):
            sparse[place] = 1
        sparse.madvise(mmap.MADV_HUGEPAGE)
        seen = ctypes.c_char.from_buffer(sparse)
        hugepages.gather()
        assert resident_pages(ctypes.addressof(seen), size) == 16
        del seen


def test_a_file_of_any_name_may_be_mapped_and_nothing_need_be_known(
    memory: mmap.mmap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.fsencode(tmp_path) + b"/lib\xff.so", "wb+") as file:
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        with mmap.mmap(file.fileno(), mmap.PAGESIZE):
            assert hugepages.gather() >= SIZE - hugepages.HUGE_BYTES
    monkeypatch.setattr(hugepages, "open", lambda *_, **__: os.open("/nowhere/at/all", os.O_RDONLY), raising=False)
    assert hugepages.gather() == 0


def test_a_zygote_gathers_what_it_has_imported_before_it_forks_and_not_while_forks_share_it() -> None:
    """Moving what a fork has copies it: there would be twice as much."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gathered: list[int] = []
    of_zygote = object.__new__(zygote.Zygote)
    of_zygote.control = theirs
    of_zygote.gathered = False
    of_zygote.wardens = set()
    of_zygote.hugepages = SimpleNamespace(gather=lambda: gathered.append(len(of_zygote.wardens)))
    of_zygote.warden = SimpleNamespace(Warden=lambda *_: SimpleNamespace(serve=lambda _: None))

    def forks() -> int:
        of_zygote.fork_warden(-1)
        pid: int = json.loads(ours.recv(100))["warden"]
        os.waitpid(pid, 0)
        return pid

    with ours, theirs:
        first = forks()
        assert gathered == [0]
        of_zygote.gathered = False  # as after an import
        second = forks()
        assert gathered == [0]
        of_zygote.wardens -= {first, second}
        forks()
        forks()
        assert gathered == [0, 0]
