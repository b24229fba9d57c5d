"""Every example with inputs for it, what it gives in a local run, and a form of outputs that can be compared."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from flytekit.remote import FlyteWorkflowExecution
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

from tests.support.flyte import EXAMPLES

_BOOK = "Chapter one\nIt was a dark night.\n\nChapter two\nThe wind rose.\n\nChapter three\nThe drone landed.\n"


class Kind(Enum):
    WORKFLOW = "workflow"
    TASK = "task"
    LAUNCH_PLAN = "launch plan"


@dataclass(frozen=True)
class Example:
    """One entity of one file in `examples/`."""

    file: str
    entity: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    """The same inputs as `pyflyte run` takes them."""
    kind: Kind = Kind.WORKFLOW

    @property
    def name(self) -> str:
        """As `pyflyte register examples` registers it."""
        return self.entity if self.kind is Kind.LAUNCH_PLAN else f"{self.file}.{self.entity}"

    @property
    def path(self) -> Path:
        return EXAMPLES / f"{self.file}.py"

    @property
    def python(self) -> Any:
        """The flytekit entity itself."""
        return getattr(load(self.file), self.entity)

    def input_values(self, folder: Path) -> dict[str, Any]:
        """Inputs for a local or remote call from Python; files are made in `folder`."""
        return {name: book(folder) if value is BOOK else value for name, value in self.inputs.items()}

    def run_locally(self, folder: Path) -> dict[str, Any]:
        """Outputs by name, comparable."""
        entity = self.python
        result = entity(**self.input_values(folder))
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        names = list(entity.python_interface.outputs)
        return {name: plain(value) for name, value in zip(names, result if len(names) > 1 else (result,), strict=True)}

    def outputs_of(self, execution: FlyteWorkflowExecution) -> dict[str, Any]:
        """Outputs by name, comparable; converted to the types that the example declares."""
        types = self.python.python_interface.outputs
        return {name: plain(execution.outputs.get(name, as_type=type_)) for name, type_ in types.items()}


BOOK = object()
"""Stands for a text file, in `Example.inputs`."""

EXAMPLES_THAT_SUCCEED = [
    Example("demo", "training_data", {"seed": 3, "flights": 5}, ("--seed", "3", "--flights", "5")),
    Example(
        "scalars",
        "scalars",
        {
            "count": 4,
            "share": 0.75,
            "unit": "boxes",
            "start": datetime(2024, 2, 29, 12, tzinfo=UTC),
            "by": timedelta(minutes=90),
            "backwards": True,
        },
        (
            *("--count", "4", "--share", "0.75", "--unit", "boxes"),
            *("--start", "2024-02-29T12:00:00", "--by", "90m", "--backwards"),
        ),
    ),
    Example(
        "lists_and_dicts",
        "lists_and_dicts",
        {"text": "an apple pie a day", "rows": {"a": [{"x": 1.5}], "b": [{"y": 2.25}, {"z": -3.5}]}},
        ("--text", "an apple pie a day", "--rows", '{"a": [{"x": 1.5}], "b": [{"y": 2.25}, {"z": -3.5}]}'),
    ),
    Example(
        "choices",
        "choices",
        {"length": 10.0, "unit": "feet", "value": "12", "note": "about"},
        ("--length", "10.0", "--unit", "feet", "--value", "12", "--note", "about"),
    ),
    Example("records", "records", {"name": "ramp", "slope": 2.5}, ("--name", "ramp", "--slope", "2.5")),
    Example("files", "files", {"book": BOOK}, ("--book", "{book}")),
    Example("frames", "frames", {"rows": 9}, ("--rows", "9")),
    Example("outputs_and_defaults", "outputs_and_defaults", {"dividend": 60}, ("--dividend", "60")),
    Example("outputs_and_defaults", "a_hundred", {"divisor": 9}, ("--divisor", "9"), kind=Kind.LAUNCH_PLAN),
    Example("subworkflows", "subworkflows", {"a": 1, "b": 2}, ("--a", "1", "--b", "2")),
    Example("single_task", "primes", {"below": 20}, ("--below", "20"), kind=Kind.TASK),
    Example("plans", "plans", {"plants": 3}, ("--plants", "3")),
    Example(
        "branches",
        "branches",
        {"width": 20.0, "height": 20.0, "fenced": True},
        ("--width", "20.0", "--height", "20.0", "--fenced"),
    ),
    Example("generated", "generated", {"height": 3}, ("--height", "3")),
    Example("mapped", "mapped", {"values": [1.0, 2.0, 0.0], "by": 3.0}, ("--values", "[1.0, 2.0, 0.0]", "--by", "3.0")),
    Example("echoes", "echoes", {"speed": 3.5, "station": "Zugspitze"}, ("--speed", "3.5", "--station", "Zugspitze")),
    Example("eagerly", "eagerly", {"first": 1}, ("--first", "1")),
    Example("overrides", "overrides", {"station": "Zugspitze"}, ("--station", "Zugspitze")),
    Example("cached", "cached", {"field": "north"}, ("--field", "north")),
    Example("retried", "retried", {"station": "Zugspitze"}, ("--station", "Zugspitze")),
    Example("report", "report", {"values": [3, 9, 4]}, ("--values", "[3, 9, 4]")),
]

FAILING = Example("failing", "failing", {"amount": -5}, ("--amount", "-5"))

CLEANED_UP = Example("cleanup", "cleanup", {"server": "lemon"}, ("--server", "lemon"))
"""Fails, and its failure node runs."""

ALL = [*EXAMPLES_THAT_SUCCEED, FAILING, CLEANED_UP]
"""Everything that runs without anybody's help."""

CONVERTED = {
    "scalars",
    "lists_and_dicts",
    "choices",
    "records",
    "files",
    "frames",
    "outputs_and_defaults",
    "single_task",
}
"""Files whose inputs are of interest: `FlyteRemote` converts them in another way than `pyflyte` does."""

GATED = Example("gates", "gates", {"topic": "spring"}, ("--topic", "spring"))
"""Waits for an approval and a value."""


def load(file: str) -> ModuleType:
    """Imports an example as its users' scripts would: its folder is on the path."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(file)


def book(folder: Path) -> str:
    """Path of a text file in `folder`."""
    path = folder / "book.txt"
    path.write_text(_BOOK)
    return str(path)


def plain(value: Any) -> Any:
    """A value with content in place of files, directories and frames, whose own equality means identity."""
    if isinstance(value, pd.DataFrame):
        return value.to_dict(orient="list")
    if isinstance(value, FlyteFile):
        return Path(value).read_bytes()
    if isinstance(value, FlyteDirectory):
        folder = Path(value)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value
