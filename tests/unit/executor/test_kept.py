"""A process that many tasks share reads its line while the executor takes it back: every interleaving of the two.

The process is a model here that does as `bootstrap/worker.py` does, and reads whenever the test lets it.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from services.executor.kept import AHEAD, Job, Kept, Kind
from services.executor.runner import Exit, Recipe

LENGTHS = struct.Struct("<II")


class Process:
    """Takes requests from the channel, and answers with the name of what it ran and the environment that this had."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.last = 0
        self.environment = {"NAME": "of recipe", "PATH": "of recipe", "HOME": "of zygote", "SET": "by module"}
        self.taken: dict[str, Any] | None = None

    def step(self) -> None:
        """Ends what it runs, or takes what is next."""
        if self.taken is not None:
            said = json.dumps({"code": 0, "inline": True, "deck": False, "leak": ""}).encode()
            outputs = json.dumps([self.taken["name"], self.environment]).encode()
            self.channel.send(LENGTHS.pack(len(said), len(outputs)) + said + outputs)
            self.taken = None
            return
        try:
            data = self.channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        length, _ = LENGTHS.unpack_from(data)
        request = json.loads(data[LENGTHS.size : LENGTHS.size + length])
        if request["after"] != self.last:
            return
        self.last, self.taken = request["number"], request
        for name, value in request["environment"].items():
            if value is None:
                del self.environment[name]
            else:
                self.environment[name] = value


class Shared:
    """The process's end of the channel, which the executor reads too: before it does, the process may go on."""

    def __init__(self, real: socket.socket, process: Process, steps: list[int]) -> None:
        self._real = real
        self._process = process
        self._steps = steps

    def recv(self, size: int, flags: int) -> bytes:
        for _ in range(self._steps.pop(0) if self._steps else 0):
            self._process.step()
        return self._real.recv(size, flags)

    def close(self) -> None:
        self._real.close()


@pytest.mark.parametrize("begun", [0, 1, 2])
@pytest.mark.parametrize("steps", list(itertools.product(range(4), repeat=1 + AHEAD)))
async def test_each_has_its_own_end_or_was_not_begun_whenever_the_process_reads(
    begun: int, steps: tuple[int, ...]
) -> None:
    """`begun` is how far the process is when recalling begins, `steps` how far it goes before each of our looks."""
    environment = (("HOME", "of recipe"), ("NAME", "of recipe"), ("PATH", "of recipe"), ("SET", "of recipe"))
    kind = Kind(Recipe(Path(), environment, "", ""), 0, ())
    kept = Kept(kind, directory=Path(), warden=None)  # type: ignore[arg-type]  # it is neither started nor ended
    told: dict[str, object] = {}

    def given(name: str) -> None:
        def ended(exit: Exit, reply: Any) -> None:
            assert name not in told and exit.code == 0
            told[name] = json.loads(reply.outputs)

        def recalled() -> None:
            assert name not in told
            told[name] = "recalled"

        own = {"NAME": name, name: "set", "HOME": "of recipe", "SET": "of recipe"}
        kept.give(Job({"name": name}, own, b"", 1000, lambda: None, lambda data: None, ended, recalled))

    theirs = kept._theirs
    process = Process(theirs)
    names = [f"J{number}" for number in range(1 + AHEAD)]
    for name in names:
        given(name)
    for _ in range(begun):
        process.step()
    kept._theirs = Shared(theirs, process, list(steps))  # type: ignore[assignment]
    try:
        kept.recall()
        for again in [name for name in names if told.get(name) == "recalled"]:
            assert again != names[0]  # what the process is to run now is never taken from it
        while kept.in_line == AHEAD:  # all were begun: there is no room yet
            process.step()
            kept._listen()
        given("after")
        for _ in range(2 * len(names) + 4):
            process.step()
            kept._listen()
    finally:
        kept._close()
    assert told.keys() == {*names, "after"}
    for name, said in told.items():
        found = {"NAME": name, name: "set", "HOME": "of recipe", "SET": "by module"}
        assert said in ("recalled", [name, found])
    assert told["after"] != "recalled"
