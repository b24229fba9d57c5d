"""A dataclass whose constructor is written out is the same class."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from deploy.native import build
from deploy.native.expand import Refused, expand, known

SOURCE = '''"""A module."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.workflow.frozen import frozen


@frozen
class Value:
    """A value."""

    name: str
    size: int = 0
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class Base:
    key: int
    rows: int = 0
    """How many."""


@dataclass(slots=True, kw_only=True)
class Derived(Base):
    value: Value
    found: dict[str, int] = field(default_factory=dict)
    more: list[Value] = field(default_factory=lambda: [Value("first")])

    def __post_init__(self) -> None:
        self.rows += 1


class Kept:
    __slots__ = ("turn",)

    turn: Value

    def close(self) -> Value:
        turn = self.turn
        del self.turn
        return turn


def after() -> int:
    return 1
'''


def load(source: str) -> dict[str, Any]:
    """What a module defines."""
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "module", "exec"), names)
    return names


PLAIN = load(SOURCE)
WRITTEN = load(expand(SOURCE, known([SOURCE])))


@pytest.mark.parametrize("name", ["Value", "Base", "Derived"])
def test_it_is_called_the_same_way(name: str) -> None:
    wanted = inspect.signature(PLAIN[name]).parameters.values()
    found = inspect.signature(WRITTEN[name]).parameters.values()
    assert [(each.name, each.kind, each.default is each.empty) for each in found] == [
        (each.name, each.kind, each.default is each.empty) for each in wanted
    ]
    assert [each.name for each in dataclasses.fields(WRITTEN[name])] == [
        each.name for each in dataclasses.fields(PLAIN[name])
    ]


def test_what_it_makes_is_equal_and_shows_the_same() -> None:
    told = []
    for module in (PLAIN, WRITTEN):
        value = module["Value"]("a", tags=("x",))
        derived = module["Derived"](7, value=value)
        again = dataclasses.replace(derived, rows=0)
        assert again == derived and again is not derived and again.found is derived.found
        assert hash(value) == hash(dataclasses.replace(value)) and value != module["Value"]("b")
        assert module["Derived"](7, value=value).found is not derived.found
        with pytest.raises(TypeError):
            hash(derived)
        told.append(repr(derived))
    assert told[0] == told[1]


def test_an_attribute_that_is_deleted_is_named() -> None:
    assert WRITTEN["Kept"].__deletable__ == ["turn"]
    assert not hasattr(PLAIN["Kept"], "__deletable__")


def test_lines_stay_where_they_were_until_the_first_class_ends() -> None:
    before, after = SOURCE.splitlines(), expand(SOURCE, known([SOURCE])).splitlines()
    assert before.index("class Value:") == after.index("class Value:")
    assert "def after() -> int:" in after


@pytest.mark.parametrize(
    "field", ["once: ClassVar[int] = 0", "hidden: int = field(repr=False)", "given: InitVar[int] = 0"]
)
def test_what_it_does_not_know_is_refused(field: str) -> None:
    source = f"@dataclass\nclass Strange:\n    {field}\n"
    with pytest.raises(Refused, match="Strange"):
        expand(source, known([source]))


@pytest.mark.parametrize("base", ["Layer[int]", "layer.Layer[int]", "Layer"])
def test_a_class_that_stays_pythons_may_not_derive_from_one_that_becomes_cs(tmp_path: Path, base: str) -> None:
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "layer.py").write_text("class Layer: ...\n")
    (tmp_path / "libs" / "line.py").write_text(f"class Line({base}): ...\n")
    with pytest.raises(Refused, match=r"libs/line\.py: Line derives from Layer, which is compiled"):
        build._look_for_heirs(tmp_path, ["libs/layer.py"])
    build._look_for_heirs(tmp_path, ["libs/layer.py", "libs/line.py"])
