"""What this machine has: cores, memory, gpus, as far as this process may use them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_CGROUPS: Final = Path("/sys/fs/cgroup")
_NVIDIA_SMI_SECONDS: Final = 20.0  # the first call on an idle machine wakes every device
_NO_LIMIT: Final = 1 << 60  # cgroup v1 writes "no limit" as almost 2**63


def cpu_millis(cgroups: Path = _CGROUPS) -> int:
    """Thousandths of a core: the cores this process may run on, or the cgroup's quota if that is less."""
    cores = len(os.sched_getaffinity(0)) * 1000
    quota = _cpu_quota(cgroups)
    return cores if quota is None else max(1, min(cores, quota))


def _cpu_quota(cgroups: Path) -> int | None:
    limits = _words(cgroups / "cpu.max")  # v2: "max 100000" or "150000 100000"
    if not limits:
        limits = _words(cgroups / "cpu/cpu.cfs_quota_us") + _words(cgroups / "cpu/cpu.cfs_period_us")
    match limits:
        case [quota, period] if quota.isdigit() and period.isdigit() and int(period):
            return int(quota) * 1000 // int(period)
        case _:
            return None  # "max", or -1 in v1, or no cgroup at all


def memory_bytes(cgroups: Path = _CGROUPS) -> int:
    """The machine's memory, or the cgroup's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _words(cgroups / "memory.max") or _words(cgroups / "memory/memory.limit_in_bytes"):
        if limit.isdigit() and int(limit) < min(total, _NO_LIMIT):
            return int(limit)
    return total


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


async def gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The devices this process may use: those of `CUDA_VISIBLE_DEVICES` if set, else all that `nvidia-smi` lists."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(device for each in visible.split(",") if (device := each.strip()) and device != "-1")
    try:
        process = await asyncio.create_subprocess_exec(
            "nvidia-smi",
            "--query-gpu=index",
            "--format=csv,noheader",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError:
        return ()  # no driver, no gpus
    try:
        async with asyncio.timeout(_NVIDIA_SMI_SECONDS):
            listed, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        logger.error("nvidia-smi does not answer: no gpus are offered")
        return ()
    if process.returncode != 0:
        reason = (complaint or listed).decode(errors="replace").strip()
        logger.warning("nvidia-smi failed, no gpus are offered: %s", reason)
        return ()
    return tuple(line.strip() for line in listed.decode().splitlines() if line.strip().isdigit())
