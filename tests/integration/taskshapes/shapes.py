"""Tasks of many shapes, to be run both as flytekit's command line runs them and as the executor's warm processes do."""

from __future__ import annotations

import enum
import os
import sys
import typing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import flytekit
from flytekit import Deck, FlyteDirectory, FlyteFile, dynamic, map_task, task
from flytekit.core.base_task import IgnoreOutputs
from flytekit.exceptions.user import FlyteRecoverableException


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


class Pair(typing.NamedTuple):
    left: int
    right: str


@task
def scalars(a: int, b: float, c: str, d: bool, e: datetime, f: timedelta) -> tuple[int, float, str, bool]:
    return a + 1, b * 2, c[::-1], not d


@task
def times(e: datetime) -> tuple[datetime, timedelta]:
    return e + timedelta(days=1), timedelta(seconds=90)


@task
def collections(xs: list[int], names: dict[str, str]) -> dict[str, list[int]]:
    return dict.fromkeys(names, xs)


@task
def structures(p: Point) -> tuple[Point, Colour]:
    return Point(p.x + 1, p.y), Colour.RED


@task
def unions(x: int | str, y: int | None = None) -> str | int:
    return f"{x} {y}"


@task
def named() -> Pair:
    return Pair(1, "one")


@task
def nothing(x: int) -> None:
    print("nothing", x)


@task
def file() -> FlyteFile:
    Path("made.txt").write_text("made")
    return FlyteFile("made.txt")


@task
def directory() -> FlyteDirectory:
    Path("made").mkdir()
    Path("made", "a.txt").write_text("a")
    return FlyteDirectory("made")


@task
def large(size: int) -> str:
    return "x" * size


@task
def several(size: int) -> tuple[str, int]:
    return "x" * size, 1


@task(enable_deck=True)
def decked() -> int:
    Deck("hello", "<b>hi</b>")
    return 1


@task
def fails(message: str) -> int:
    if message:
        raise ValueError(message)
    return 1


@task
def recovers(again: bool) -> int:
    if again:
        raise FlyteRecoverableException("again")
    return 1


@task
def returns_wrong() -> int:
    return typing.cast(int, "no number")


@task
def ignores(rank: int) -> int:
    if rank:
        raise IgnoreOutputs("a worker of many")
    return 1


@task
def leaves(code: int) -> int:
    if code:
        sys.exit(code)
    return 1


@task
async def waits(x: int) -> int:
    return x * 2


@task
def knows() -> list[str]:
    context = flytekit.current_context()
    access = flytekit.FlyteContextManager.current_context()
    settings = access.serialization_settings
    return [
        str(context.execution_id),
        str(context.task_id),
        str(context.raw_output_prefix),
        str(context.output_metadata_prefix),
        str(context.checkpoint.prev_exists()),
        str(settings.project),
        str(settings.version),
        str(settings.fast_serialization_settings),
        str(access.execution_state.mode),
        str(os.path.isdir(context.working_directory)),
        str(sorted(os.listdir(context.working_directory))),
        str(os.environ.get("FLYTE_ATTEMPT_NUMBER")),
        str(len(sys.argv)),
        str(
            [span["Name"] for span in context.timeline_deck.time_info if "Download" not in span["Name"]]
        ),  # they come along
        str(context.secrets.get_secrets_env_var("group", "key") + context.secrets.get_secrets_file("group", "key")),
        str((context.decks, context.enable_deck)),
    ]


@task
def one(x: int) -> int:
    return x + 1


@dynamic
def grows(n: int) -> list[int]:
    return [one(x=i) for i in range(n)]


mapped = map_task(one)

WHEN = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
