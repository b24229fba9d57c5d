"""Puts what a process has in memory into huge pages, for it is going to be forked.

A fork copies the page tables of its parent, entry by entry, and its end takes them apart. Of a huge page there is one
entry where there were 512, and where a fork writes into one and so gets the entries after all, the kernel goes through
them many at a time, as all are pages of one folio. What a fork writes to is copied in small pages as ever.

Where memory is mostly not there, a huge page would make it be: of those places none is made.
"""

from __future__ import annotations

import ctypes
import os

HUGE_BYTES = 2 << 20  # of x86-64, and of arm64 where pages have 4 KiB: elsewhere nothing is found or the kernel says no
MADV_COLLAPSE = 25  # since Linux 6.1; asks at once, and for this process alone, whatever the machine's own setting is
HEAP = b"[heap]"
ENTRY_BYTES = 8  # of a page in /proc/self/pagemap; the highest bit says that the page is there
PAGES = HUGE_BYTES // os.sysconf("SC_PAGE_SIZE")
AT_LEAST = PAGES // 2  # pages that are there for a huge one to be made: it never takes more than twice as much
ABSENT = bytes(range(128))


def gather() -> int:
    """Does it as far as the kernel is willing. How many bytes lie in places where huge pages fit and are of use.

    Nothing depends on it: where the system tells less than this asks, it does less.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    gathered = 0
    try:
        for first, last in dense(anonymous()):
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_COLLAPSE)
            gathered += last - first
    except (OSError, ValueError):
        pass
    return gathered


def anonymous() -> list[tuple[int, int]]:
    """Where this process has memory of its own that it can write to, its stack left out."""
    with open("/proc/self/maps", "rb") as file:
        lines = [line.split() for line in file]
    own = [line[0] for line in lines if line[1] == b"rw-p" and (len(line) == 5 or line[5] == HEAP)]
    return [(int(start, 16), int(end, 16)) for start, _, end in (place.partition(b"-") for place in own)]


def dense(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The places of huge pages in them most of whose pages are there, those side by side as one."""
    found: list[tuple[int, int]] = []
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        for start, end in ranges:
            for place in range(-(-start // HUGE_BYTES), end // HUGE_BYTES):
                entries = os.pread(pagemap.fileno(), PAGES * ENTRY_BYTES, place * PAGES * ENTRY_BYTES)
                if len(entries[ENTRY_BYTES - 1 :: ENTRY_BYTES].translate(None, ABSENT)) < AT_LEAST:
                    continue
                first = found.pop()[0] if found and found[-1][1] == place * HUGE_BYTES else place * HUGE_BYTES
                found.append((first, (place + 1) * HUGE_BYTES))
    return found
