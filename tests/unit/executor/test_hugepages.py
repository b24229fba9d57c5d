"""What is put into huge pages stays what it was."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.executor.bootstrap import hugepages

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
