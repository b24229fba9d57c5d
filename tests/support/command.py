"""The `airscrew` command as a user runs it, in the test's own process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from services.cli.__main__ import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Command:
    """Runs `airscrew …` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["airscrew", *arguments])
        code = main()
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)
