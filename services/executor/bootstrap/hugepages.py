"""Puts what a process has in memory into huge pages, for it is going to be forked.

A fork copies the page tables of its parent, entry by entry, and its end takes them apart. Of a huge page there is one
entry where there were 512, and where a fork writes into one and so gets the entries after all, the kernel goes through
them many at a time, as all are pages of one folio. What a fork writes to is copied in small pages as ever.
"""

from __future__ import annotations

import ctypes

HUGE_BYTES = 2 << 20  # of x86-64, and of arm64 where pages have 4 KiB: elsewhere nothing is found or the kernel says no
MADV_COLLAPSE = 25  # since Linux 6.1; asks at once, and for this process alone, whatever the machine's own setting is
HEAP = "[heap]"


def gather() -> int:
    """Does it as far as the kernel is willing. How many bytes lie in places where huge pages fit."""
    libc = ctypes.CDLL(None, use_errno=True)
    gathered = 0
    for start, end in anonymous():
        first, last = -(-start // HUGE_BYTES) * HUGE_BYTES, end // HUGE_BYTES * HUGE_BYTES
        if first < last:
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_COLLAPSE)
            gathered += last - first
    return gathered


def anonymous() -> list[tuple[int, int]]:
    """Where this process has memory of its own that it can write to, its stack left out."""
    with open("/proc/self/maps") as file:
        lines = [line.split() for line in file]
    own = [line[0] for line in lines if line[1] == "rw-p" and (len(line) == 5 or line[5] == HEAP)]
    return [(int(start, 16), int(end, 16)) for start, _, end in (place.partition("-") for place in own)]
