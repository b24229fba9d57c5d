"""The environment variables of tasks: what each finds is told as what is not as it was before."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any


class Surroundings:
    """The environment variables of one task after the other."""

    def __init__(self) -> None:
        self.wanted: dict[str, str] = {}
        self.found: Any = None  # what lay in `os.environ` when it had last been set

    @staticmethod
    def here() -> Surroundings:
        """What there is now: what modules have set when they were imported too. Changes are told against it."""
        surroundings = Surroundings()
        surroundings.wanted.update(os.environ)
        return surroundings

    def change(self, changes: dict[str, str | None]) -> None:
        """Sets what the next task is to find, whatever there may be now; None takes a variable away."""
        _apply(changes, self.wanted)
        if self.found is None or self.found != getattr(os.environ, "_data", None):
            changes = self.differences()  # the first task, or the last has changed something itself
        _apply(changes, os.environ)
        data = getattr(os.environ, "_data", None)
        self.found = None if data is None else dict(data)

    def add(self, changes: dict[str, str | None]) -> None:
        """As `change`, where nobody has changed anything since the last one."""
        _apply(changes, self.wanted)
        _apply(changes, os.environ)

    def differences(self) -> dict[str, str | None]:
        found = dict(os.environ)
        changes: dict[str, str | None] = dict(self.wanted.items() - found.items())
        changes.update(dict.fromkeys(found.keys() - self.wanted.keys()))
        return changes


def _apply(changes: dict[str, str | None], variables: MutableMapping[str, str]) -> None:
    for name, value in changes.items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
