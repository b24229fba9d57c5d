"""The simple types: int, float, str, bool, datetime and timedelta, through two tasks and back."""

from datetime import datetime, timedelta

from flytekit import task, workflow


@task
def shift(start: datetime, by: timedelta, backwards: bool) -> datetime:
    return start - by if backwards else start + by


@task
def describe(count: int, share: float, unit: str, at: datetime) -> tuple[str, bool]:
    text = f"{count} {unit} ({share:.1%}) at {at:%Y-%m-%d %H:%M}"
    return text, share >= 0.5


@task
def scale(count: int, share: float, by: timedelta) -> tuple[int, float, timedelta]:
    return count * 3, share / 4, by * 2


@workflow
def scalars(
    count: int, share: float, unit: str, start: datetime, by: timedelta, backwards: bool
) -> tuple[int, float, str, bool, datetime, timedelta]:
    at = shift(start=start, by=by, backwards=backwards)
    text, most = describe(count=count, share=share, unit=unit, at=at)
    tripled, quarter, doubled = scale(count=count, share=share, by=by)
    return tripled, quarter, text, most, at, doubled
