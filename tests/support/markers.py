"""Who really ran: lines that task processes write to a shared file, independent of anything the engine believes.

Every line is one `write` of fewer than 4096 bytes to a file opened with O_APPEND, so that lines of processes that run
at the same time never mix.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """#!{python} -S
import json, os, subprocess, sys, time
prefix, _, marks, seconds, children = sys.argv[2:]
def mark(event, **more):
    line = json.dumps(dict(more, event=event, prefix=prefix, pid=os.getpid(), at=time.time())) + chr(10)
    file = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
sleep = [sys.executable, '-S', '-c', 'import time; time.sleep(600)']
grown = [subprocess.Popen(sleep) for _ in range(int(children))]
mark('start', traceparent=os.environ.get('TRACEPARENT', ''), children=[child.pid for child in grown])
time.sleep(float(seconds))
os.makedirs(prefix, exist_ok=True)
open(os.path.join(prefix, 'outputs.pb'), 'wb').close()
mark('end')
"""


def make_environment(folder: Path) -> Path:
    """A task environment without flytekit: its `pyflyte-execute` marks its start, sleeps and marks its end.

    It needs the standard library only, so an attempt costs milliseconds instead of the import of flytekit.
    """
    program = folder / "bin" / "pyflyte-execute"
    program.parent.mkdir(parents=True)
    program.write_text(_PROGRAM.replace("{python}", sys.executable))
    program.chmod(0o755)
    return folder


def arguments(marks: Path, seconds: float, children: int = 0) -> list[str]:
    """The command line of a marking task, as its template has it. `children` is how many processes it starts itself."""
    return ["pyflyte-execute", "--output-prefix", "{{.outputPrefix}}", "--", str(marks), str(seconds), str(children)]


@dataclass(frozen=True)
class Mark:
    """One line: a task process started or ended."""

    event: str
    execution: str
    """`<project>-<domain>-<name>`"""
    node: str
    attempt: int
    pid: int
    at: float
    """Seconds since the epoch."""
    traceparent: str = ""
    children: tuple[int, ...] = ()

    @property
    def attempt_id(self) -> tuple[str, str, int]:
        return self.execution, self.node, self.attempt


class Markers:
    """Reads the file that the tasks of a system write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._marks: list[Mark] = []
        """Those of the file's first `_read` bytes: a file that only grows need not be read from its beginning again."""
        self._read = 0
        self._reading = threading.Lock()

    def marks(self, event: str, execution: str = "") -> list[Mark]:
        """Marks of one kind, in the order of writing; of one execution if its name is given."""
        mine = f"-{execution}" if execution else ""
        return [mark for mark in self._all() if mark.event == event and mark.execution.endswith(mine)]

    def _all(self) -> list[Mark]:
        with self._reading:
            if self.path.exists():
                with self.path.open("rb") as file:
                    file.seek(self._read)
                    whole, newline, _ = file.read().rpartition(b"\n")
                self._marks += map(_parse, whole.decode().splitlines())
                self._read += len(whole) + len(newline)
            return list(self._marks)

    def starts(self, execution: str = "") -> list[Mark]:
        return self.marks("start", execution)

    def ends(self, execution: str = "") -> list[Mark]:
        return self.marks("end", execution)

    def started_twice(self, execution: str = "") -> list[tuple[str, str, int]]:
        """Attempts that more than one process ran: must be empty, whatever happened."""
        counted = Counter(mark.attempt_id for mark in self.starts(execution))
        return sorted(attempt for attempt, count in counted.items() if count > 1)

    def wait(self, until: Callable[[], bool], *, timeout_seconds: float = 30.0, interval_seconds: float = 0.01) -> None:
        """Waits for a condition over the marks; AssertionError when it does not come true in time."""
        deadline = time.monotonic() + timeout_seconds
        while not until():
            assert time.monotonic() < deadline, f"not within {timeout_seconds} s; starts: {self.starts()}"
            time.sleep(interval_seconds)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _parse(line: str) -> Mark:
    fields = json.loads(line)
    execution, node, _, attempt = Path(fields["prefix"]).parts[-4:]
    assert os.path.isabs(fields["prefix"]), fields
    return Mark(
        event=fields["event"],
        execution=execution,
        node=node,
        attempt=int(attempt),
        pid=fields["pid"],
        at=fields["at"],
        traceparent=fields.get("traceparent", ""),
        children=tuple(fields.get("children", ())),
    )
