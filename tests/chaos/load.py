"""Small workflows, always a few under way; each is submitted under the same name until it is taken."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc
from flyteidl.core import identifier_pb2 as identifier

from tests.support import flyte
from tests.support.markers import Markers
from tests.support.smalltasks import Registrar

LANES, LENGTH = 2, 2
TASK_SECONDS = 0.4
_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN})


class Load:
    """Submits from a thread of its own between `start` and `stop`."""

    def __init__(self, endpoint: str, folder: Path, *, at_once: int, at_least: int) -> None:
        """`at_once` is how many may be unfinished, `at_least` how many come even after `stop`."""
        self.marks = Markers(folder / "marks.jsonl")
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self._at_once = at_once
        self._at_least = at_least
        self._client = flyte.Client(endpoint, folder / "home")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when what was being submitted is accepted, and no less than was asked for."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with self._client.stubs() as stubs:
            registrar = Registrar(stubs)
            task = registrar.marking_task("small", self.marks.path, TASK_SECONDS, retries=5)
            plan = registrar.lanes("small", task, lanes=LANES, length=LENGTH)
            while not (self._stopping.is_set() and len(self.accepted) >= self._at_least):
                if self._unfinished() < self._at_once:
                    name = f"load-{len(self.accepted)}"
                    self._submit(registrar, plan, name)
                    self.accepted.append(name)
                else:
                    time.sleep(0.05)

    def _submit(self, registrar: Registrar, plan: identifier.Identifier, name: str) -> None:
        while True:
            try:
                registrar.launch(plan, name)
                return
            except grpc.RpcError as error:
                code = error.code()
                if code is grpc.StatusCode.ALREADY_EXISTS:
                    return  # an earlier try was accepted, its answer was lost
                if code not in _RETRIED:
                    self.refused.append(f"{name}: {code.name}: {error.details()}")
                time.sleep(0.2)

    def _unfinished(self) -> int:
        """By the marks alone: an execution is under way while it has not as many ends as tasks."""
        return len(self.accepted) - len(self.marks.ends()) // (LANES * LENGTH)
