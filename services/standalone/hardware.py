"""How several executors share one machine. Each would offer all of it; together they must not."""

from __future__ import annotations

import os


def share(executors: int) -> dict[str, str]:
    """An equal share of cores and memory, for each executor that the user has not told anything else.

    Nothing for a single one: it looks for itself, and knows more of limits and containers.
    """
    if executors == 1:
        return {}
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "AIRSCREW_EXECUTOR_CPU_MILLIS": str(max(1, 1000 * cores // executors)),
        "AIRSCREW_EXECUTOR_MEMORY_BYTES": str(memory // executors),
    }


def devices(position: int) -> dict[str, str]:
    """Gpus are not shared: all go to the first executor, whatever the user has set for every one."""
    return {} if position == 0 else {"AIRSCREW_EXECUTOR_GPUS": "", "CUDA_VISIBLE_DEVICES": ""}
