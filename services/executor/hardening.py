"""Keeping what the executor knows from the task processes that run beside it, under the same user.

The session token is in the executor's memory and may be in its environment. A process that is not "dumpable" shows
neither to others of its user: /proc/PID/environ and /proc/PID/mem then belong to root, and nobody may trace it.
Against root nothing helps: an executor that runs as root should run tasks as somebody else (`task_uid`).
"""

from __future__ import annotations

import ctypes
import logging
from typing import Final

logger = logging.getLogger(__name__)

_PR_SET_DUMPABLE: Final = 4


def hide_memory() -> None:
    """Makes this process unreadable for others of its user. Processes that it starts are not affected."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0) != 0:
        logger.warning("task processes can read this process's memory: prctl failed with %d", ctypes.get_errno())
