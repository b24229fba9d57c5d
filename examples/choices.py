"""Values that may be absent or one of several: Optional, Union and Enum."""

from enum import Enum

from flytekit import task, workflow


class Unit(Enum):
    METRES = "metres"
    FEET = "feet"


@task
def convert(length: float, unit: Unit) -> float:
    return length if unit is Unit.METRES else length * 0.3048


@task
def other(unit: Unit) -> Unit:
    return Unit.FEET if unit is Unit.METRES else Unit.METRES


@task
def label(metres: float, note: str | None) -> str | None:
    return f"{metres:.2f} m: {note}" if note else None


@task
def parse(value: int | str) -> int | str:
    return int(value) if isinstance(value, str) and value.isdigit() else value


@workflow
def choices(length: float, unit: Unit, value: int | str, note: str | None = None) -> tuple[str | None, Unit, int | str]:
    metres = convert(length=length, unit=unit)
    return label(metres=metres, note=note), other(unit=unit), parse(value=value)
