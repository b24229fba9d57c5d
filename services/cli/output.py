"""Where a command's answer goes: JSON for programs, tables and trees for people, plain lines for files and pipes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, RenderableType


@dataclass(frozen=True, slots=True)
class Output:
    """Standard output as this command should use it."""

    as_json: bool = False
    console: Console = field(default_factory=lambda: Console(highlight=False))

    @property
    def live(self) -> bool:
        """A person looks at it: redraw, colour and fit to the width."""
        return self.console.is_terminal and not self.as_json

    def show(self, value: Any, text: Callable[[], str], rich: Callable[[], RenderableType] | None = None) -> None:
        """Prints one answer in the form that is wanted: `value` is what JSON shows of it."""
        if self.as_json:
            self.line(json.dumps(value, indent=2))
        elif self.live and rich is not None:
            self.console.print(rich())
        else:
            self.line(text())

    def record(self, value: Any, text: str) -> None:
        """One line of many: JSON Lines, or `text`."""
        self.line(json.dumps(value) if self.as_json else text)

    def line(self, text: str) -> None:
        """A line as it is, seen at once even through a pipe."""
        print(text, flush=True)

    def raw(self, content: bytes) -> None:
        """Bytes as they are: a task may print what is no text."""
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
