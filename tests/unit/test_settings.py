"""Settings: where a field is looked for, what its text may be, and that all mistakes come together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from libs import settings


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Example:
    listen: str
    """Where it
    listens."""

    slots: int = 4
    """How many."""
    grace_seconds: float = 15.0
    eager: bool = False
    data_dir: Path | None = None
    propellers: tuple[str, ...] = ()
    environments: Mapping[str, str] = field(default_factory=dict)
    colour: Colour = Colour.RED

    def __post_init__(self) -> None:
        if self.slots < 0:
            raise ValueError(f"SLOTS: {self.slots} is less than 0")


def load(**environ: str) -> Example:
    return settings.load(Example, "executor", {"AIRSCREW_LISTEN": "127.0.0.1:0", **environ})


def mistakes(**environ: str) -> list[str]:
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(Example, "executor", environ)
    return caught.value.mistakes


def test_a_field_that_is_not_set_has_its_default() -> None:
    assert load() == Example("127.0.0.1:0")


def test_texts_become_values_of_the_fields_types() -> None:
    example = load(
        AIRSCREW_SLOTS="8",
        AIRSCREW_GRACE_SECONDS="0.5",
        AIRSCREW_EAGER="Yes",
        AIRSCREW_DATA_DIR="/var/lib/airscrew",
        AIRSCREW_PROPELLERS="a:1, b:2,",
        AIRSCREW_ENVIRONMENTS="cpu=/envs/cpu, *=/envs/all",
        AIRSCREW_COLOUR="Blue",
    )
    assert example == Example(
        "127.0.0.1:0",
        slots=8,
        grace_seconds=0.5,
        eager=True,
        data_dir=Path("/var/lib/airscrew"),
        propellers=("a:1", "b:2"),
        environments={"cpu": "/envs/cpu", "*": "/envs/all"},
        colour=Colour.BLUE,
    )


def test_the_services_own_name_wins_over_the_shared_one() -> None:
    assert load(AIRSCREW_SLOTS="1", AIRSCREW_EXECUTOR_SLOTS="2").slots == 2


def test_another_services_name_is_left_alone() -> None:
    assert load(AIRSCREW_QUEUE_SLOTS="9").slots == 4


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(AIRSCREW_EXECUTOR_SLOTS="", AIRSCREW_SLOTS="3").slots == 3


def test_a_file_gives_its_stripped_content(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("  127.0.0.1:9\n")
    assert (
        settings.load(Example, "executor", {"AIRSCREW_LISTEN_FILE": str(tmp_path / "secret")}).listen == "127.0.0.1:9"
    )


def test_all_mistakes_are_reported_at_once_and_name_their_variables(tmp_path: Path) -> None:
    assert mistakes(
        AIRSCREW_EXECUTOR_SLOTS="many",
        AIRSCREW_GRACE_SECONDS="nan",
        AIRSCREW_EAGER="perhaps",
        AIRSCREW_ENVIRONMENTS="cpu",
        AIRSCREW_DATA_DIR_FILE=str(tmp_path / "absent"),
        AIRSCREW_COLOUR="mauve",
    ) == [
        "AIRSCREW_EXECUTOR_LISTEN is not set",
        "AIRSCREW_EXECUTOR_SLOTS: 'many' is not a whole number",
        "AIRSCREW_GRACE_SECONDS: 'nan' is not a finite number",
        "AIRSCREW_EAGER: 'perhaps' is neither true nor false",
        f"AIRSCREW_DATA_DIR_FILE: '{tmp_path}/absent' cannot be read: "
        f"[Errno 2] No such file or directory: '{tmp_path}/absent'",
        "AIRSCREW_ENVIRONMENTS: 'cpu' is not a list of key=value pairs: 'cpu' has no key or no '='",
        "AIRSCREW_COLOUR: 'mauve' is none of red, blue",
    ]


def test_a_variable_and_its_file_together_are_a_mistake(tmp_path: Path) -> None:
    assert mistakes(AIRSCREW_LISTEN="a:1", AIRSCREW_LISTEN_FILE=str(tmp_path)) == [
        "AIRSCREW_LISTEN and AIRSCREW_LISTEN_FILE are both set"
    ]


def test_what_comes_from_a_file_is_never_quoted(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    reported = mistakes(AIRSCREW_LISTEN="a:1", AIRSCREW_SLOTS_FILE=str(tmp_path / "secret"))
    assert reported == ["AIRSCREW_SLOTS_FILE: its content is not a whole number"]


def test_relations_between_fields_are_checked_by_the_dataclass() -> None:
    assert mistakes(AIRSCREW_LISTEN="a:1", AIRSCREW_SLOTS="-1") == ["SLOTS: -1 is less than 0"]


def test_a_field_of_a_type_that_no_text_can_have_is_a_bug() -> None:
    @dataclass(frozen=True)
    class Odd:
        numbers: tuple[int, ...] = ()

    with pytest.raises(TypeError):
        settings.load(Odd, "executor", {})


def test_settings_are_described_by_what_stands_below_their_fields() -> None:
    described = settings.described(Example, "executor")
    assert described[:3] == [
        settings.Described("AIRSCREW_EXECUTOR_LISTEN", None, "Where it listens."),
        settings.Described("AIRSCREW_EXECUTOR_SLOTS", "4", "How many."),
        settings.Described("AIRSCREW_EXECUTOR_GRACE_SECONDS", "15.0", ""),
    ]
    assert [each.default for each in described[3:]] == ["false", "", "", "", "red"]
    assert settings.described(Example)[0].variable == "AIRSCREW_LISTEN"


def test_a_default_is_written_as_it_is_read() -> None:
    @dataclass(frozen=True)
    class Full:
        eager: bool = True
        propellers: tuple[str, ...] = ("a:1", "b:2")
        environments: Mapping[str, str] = field(default_factory=lambda: {"a": "b", "c": "d"})
        colour: Colour = Colour.BLUE

    written = {each.variable: each.default or "" for each in settings.described(Full)}
    assert settings.load(Full, "executor", written) == Full()
