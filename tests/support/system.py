"""The whole system as a user starts it: `python -m services.standalone` in a process of its own.

The supervisor publishes in `run.json` which process is which; that is how a test finds the one to kill.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_SECONDS = 60.0
STOP_SECONDS = 40.0


class System:
    """A running system. `System.start` makes one for the length of a `with` block."""

    def __init__(self, process: subprocess.Popen[bytes], data_dir: Path, output: Path) -> None:
        self._process = process
        self.data_dir = data_dir
        self._output = output
        self.wait_until(lambda state: bool(state.get("ready")), READY_SECONDS, "the system is not ready")
        state = self.state()
        self.endpoint: str = state["endpoint"]
        """`host:port` of Flyte's API."""
        self.http_url: str = state["http_url"]
        self.config_file = Path(state["config"])
        """For `pyflyte -c`."""

    @classmethod
    @contextmanager
    def start(
        cls,
        folder: Path,
        *,
        database: str | None = None,
        executors: int = 1,
        propellers: int = 1,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> Iterator[System]:
        """A system with its data below `folder`, started again on the same data if there is some."""
        command = [sys.executable, "-P", "-m", "services.standalone", "--data-dir", str(folder / "data")]
        command += ["--port", str(port), "--executors", str(executors), "--propellers", str(propellers)]
        command += ["--task-python", sys.executable, *options]
        if database is not None:
            command += ["--database", database]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data" / "run.json").unlink(missing_ok=True)
        output = folder / "standalone.log"
        with output.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield cls(process, folder / "data", output)
        finally:
            _end(process)

    @property
    def database_file(self) -> Path:
        """The SQLite file, where the system has its own database."""
        return self.data_dir / "airscrew.db"

    def state(self) -> dict[str, Any]:
        """What the supervisor says of itself; empty while it has not begun."""
        try:
            state: dict[str, Any] = json.loads((self.data_dir / "run.json").read_text())
        except FileNotFoundError:
            return {}
        return state

    def pid(self, name: str) -> int:
        """Process id of `propeller`, `executor-2` …"""
        return int(self.state()["processes"][name]["pid"])

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Kills a process at once; the supervisor starts it again. Returns when it is dead."""
        pid = self.pid(name)
        os.kill(pid, number)
        self.wait_until(
            lambda state: state["processes"][name]["pid"] != pid or state["processes"][name]["state"] == "down",
            STOP_SECONDS,
            f"{name} does not die",
        )

    def wait_ready(self, name: str) -> None:
        """Returns when the process answers."""
        self.wait_until(
            lambda state: state["processes"][name]["state"] == "ready", READY_SECONDS, f"{name} is not ready again"
        )

    def restart(self, name: str) -> None:
        """Kills a process and returns when its successor answers."""
        self.kill(name)
        self.wait_ready(name)

    def logs(self, name: str) -> str:
        """What a process has logged since the system was started; `standalone` for the supervisor itself."""
        path = self._output if name == "standalone" else self.data_dir / "logs" / f"{name}.log"
        return path.read_text(errors="replace")

    def kill_supervisor(self) -> None:
        """Kills what looks after the others; they die with it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Stops the system as Ctrl-C does and returns its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(STOP_SECONDS)

    def wait_until(self, condition: Any, seconds: float, failure: str) -> None:
        """Returns when `condition(state)` holds; fails with what the supervisor printed when it does not in time."""
        deadline = time.monotonic() + seconds
        while not ((state := self.state()) and condition(state)):
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                end = "" if ended is None else f" (it ended with {ended})"
                raise AssertionError(f"{failure}{end}:\n{self.logs('standalone')[-4000:]}")
            time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # its children die with it
            process.wait()
