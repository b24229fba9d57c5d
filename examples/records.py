"""Structured values: a dataclass, a pydantic model, lists of them, and a field of a promise (`fitted.slope`)."""

from dataclasses import dataclass, field

from flytekit import task, workflow
from pydantic import BaseModel


@dataclass
class Point:
    x: float
    y: float


@dataclass
class Series:
    name: str
    points: list[Point] = field(default_factory=list)
    comment: str | None = None


class Fit(BaseModel):
    slope: float
    intercept: float
    residuals: list[float] = []


@task
def line(name: str, slope: float, count: int) -> Series:
    return Series(name, [Point(float(x), slope * x + 1) for x in range(count)])


@task
def fit(series: Series) -> Fit:
    first, last = series.points[0], series.points[-1]
    slope = (last.y - first.y) / (last.x - first.x)
    intercept = first.y - slope * first.x
    return Fit(
        slope=slope,
        intercept=intercept,
        residuals=[point.y - slope * point.x - intercept for point in series.points],
    )


@task
def predict(slope: float, intercept: float, x: float) -> float:
    return slope * x + intercept


@workflow
def records(name: str, slope: float) -> tuple[Series, Fit, float]:
    series = line(name=name, slope=slope, count=4)
    fitted = fit(series=series)
    return series, fitted, predict(slope=fitted.slope, intercept=fitted.intercept, x=10.0)
