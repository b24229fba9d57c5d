"""Measurements: what is kept of several runs, and how it is told."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Result:
    """The medians of several runs of one workload."""

    workload: str
    mode: str
    n: int
    """Tasks of one run."""
    tries: tuple[float, ...]
    """Seconds of each run."""
    database: str
    submission: str
    """The RPC that was used."""
    cpu_ms: Mapping[str, float]
    """Processor time by process, milliseconds per run."""
    hops: Mapping[str, float]
    """Where the time of a run went, in milliseconds; empty where that is not told."""

    @property
    def seconds(self) -> float:
        return statistics.median(self.tries)

    def line(self) -> str:
        """As JSON."""
        return json.dumps(
            {
                "workload": self.workload,
                "mode": self.mode,
                "n": self.n,
                "seconds": round(self.seconds, 5),
                "tasks_per_s": round(self.n / self.seconds, 1),
                "p50_ms": round(self.seconds * 1000, 2),
                "ms_per_task": round(self.seconds * 1000 / self.n, 4),
                "runs": len(self.tries),
                "best_ms": round(min(self.tries) * 1000, 2),
                "database": self.database,
                "submission": self.submission,
                "cpu_ms_per_task": {name: round(ms / self.n, 3) for name, ms in self.cpu_ms.items()},
            }
            | ({"hops_ms": {hop: round(ms, 2) for hop, ms in self.hops.items()}} if self.hops else {})
        )


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Processor time that each of these processes has had so far, to the nanosecond: what `/proc` tells is counted in
    hundredths of a second, which is more than short runs take.
    """
    return {name: time.clock_gettime(_processor_clock(pid)) for name, pid in pids.items()}


def _processor_clock(pid: int) -> int:
    """The clock of a process's processor time: clock_getcpuclockid(3), which Python lacks."""
    return (~pid << 3) | 2


def cpu_of_tasks(executor: int) -> dict[str, float]:
    """The same of everything below the executor with this process id, ended or not."""
    used, below = 0, {executor}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if pid == executor:
                used += _ticks(pid, 13, 14)
            elif _ticks(pid, 1) in below:
                below.add(pid)
                used += _ticks(pid, 11, 12, 13, 14)
    return {"tasks": used * _TICK}


def cpu_with_ended_children(pid: int) -> float:
    """The same of one process, with what its children have had that have ended."""
    return _ticks(pid, 11, 12, 13, 14) * _TICK


def _ticks(pid: int, *fields: int) -> int:
    """The sum of fields of proc_pid_stat(5), counted from the state on."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(values[field]) for field in fields)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process takes of the machine's memory, in MB (10⁶ bytes)."""

    rss: float
    """All pages that it has: those that it shares with others count in full."""
    pss: float
    """The same, where a page that n processes share counts as an n-th: the sum over all processes is what they take
    together."""
    peak: float
    """The most that `rss` ever was."""


def memory(pid: int) -> Memory:
    rollup, status = (Path(f"/proc/{pid}/{name}").read_text() for name in ("smaps_rollup", "status"))
    return Memory(_mb(rollup, "Rss"), _mb(rollup, "Pss"), _mb(status, "VmHWM"))


def _mb(text: str, name: str) -> float:
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")) * 1024 / 1e6


def per_run(before: Mapping[str, float], after: Mapping[str, float], runs: int) -> dict[str, float]:
    """Milliseconds of processor time between two looks, for one run."""
    return {name: (after[name] - before[name]) * 1000 / runs for name in before}


def write(path: Path, lines: Sequence[str]) -> None:
    """Replaces what an earlier run has left."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
