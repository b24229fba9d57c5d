"""`airscrew submit` as a user runs it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from services.cli import lines
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """1,200 good lines."""
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(f'{{"x": {number}}}\n' for number in range(1200)))
    return path


def test_each_line_becomes_an_execution_of_the_active_launch_plan(
    airscrew: Command, admin: FakeAdmin, numbers: Path
) -> None:
    ran = airscrew("submit", "--launch-plan", "sums", "--name", "n", "--tag", "nightly", str(numbers))
    assert (ran.code, ran.out, ran.err) == (0, "batch n: 1,200 created\n", "")
    assert len(admin.bulk.created) == 1200
    assert admin.bulk.created["n-17"].literals["x"].scalar.primitive.integer == 17
    first, *others = admin.bulk.requests
    assert (first.common.spec.launch_plan.name, first.common.spec.launch_plan.version) == ("sums", "v2")
    assert list(first.common.spec.tags) == ["nightly"]
    assert others and not any(request.HasField("common") for request in others)


def test_the_same_again_goes_on_where_it_stopped(airscrew: Command, admin: FakeAdmin, numbers: Path) -> None:
    short = numbers.with_name("short.jsonl")
    short.write_text("".join(numbers.read_text().splitlines(keepends=True)[:700]))
    airscrew("submit", "--launch-plan", "sums", "--name", "n", str(short))
    ran = airscrew("submit", "--launch-plan", "sums", "--name", "n", str(numbers), "-o", "json")
    assert json.loads(ran.out) == {"batch": "n", "created": 500, "existed": 700, "refused": []}
    assert len(admin.bulk.created) == 1200


def test_lines_that_are_wrong_are_told_by_number_and_hurt_no_other(
    airscrew: Command, admin: FakeAdmin, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"x": 1}\nno json\n\n{"x": "one"}\n{"who": "ann"}\n{"y": 1}\n{"x": 2}')
    ran = airscrew("submit", "--launch-plan", "sums@v9", "--name", "n", str(path))
    assert ran.code == 1 and ran.out == "batch n: 2 created, 4 refused\n"
    assert sorted(admin.bulk.created) == ["n-0", "n-6"]
    for words in (
        "line 2: is no JSON",
        "line 4: inputs.x",
        "line 5: inputs.x: is missing",
        "line 6: inputs.y: there is",
    ):
        assert words in ran.err
    assert admin.bulk.requests[0].common.spec.launch_plan.version == "v9"


def test_a_connection_that_breaks_costs_and_doubles_nothing(airscrew: Command, admin: FakeAdmin, numbers: Path) -> None:
    admin.bulk.breaks_after = [1, 0]
    ran = airscrew("submit", "--launch-plan", "sums", "--name", "n", str(numbers))
    assert ran.code == 0 and len(admin.bulk.created) == 1200
    created, existed = map(int, re.findall(r"[\d]+", ran.out.replace(",", ""))[:2])
    assert created + existed == 1200 and existed > 0, "what was created and not told is found to be there"


def test_without_a_name_the_batch_gets_one_and_says_how_to_go_on(
    airscrew: Command, admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"x": 1}\n{"x": 2}\n')))
    ran = airscrew("submit", "--launch-plan", "sums", "-")
    found = re.search(r"--name (\w+) goes on", ran.err)
    assert ran.code == 0 and found is not None
    assert ran.out == f"batch {found[1]}: 2 created\n" and sorted(admin.bulk.created) == [
        f"{found[1]}-0",
        f"{found[1]}-1",
    ]


def test_without_an_active_version_the_newest_is_launched_and_without_any_nothing(
    airscrew: Command, admin: FakeAdmin, numbers: Path
) -> None:
    assert airscrew("submit", "--launch-plan", "quiet", "--name", "n", str(numbers)).code == 0
    assert admin.bulk.requests[0].common.spec.launch_plan.version == "v7"
    ran = airscrew("submit", "--launch-plan", "nobody", str(numbers))
    assert ran.code == 2 and "there is no launch plan nobody" in ran.err


def test_lines_keep_their_numbers_however_they_arrive() -> None:
    class Dribble(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read(3)

    text = b"".join(b"%d\n" % number for number in range(1500)) + b"last"
    for source in (io.BytesIO(text), Dribble(text)):
        found = {}
        for first, some in lines.numbered(source):
            assert len(some) <= lines.PORTION
            found.update(enumerate(some, first))
        assert found == {number + 1: line for number, line in enumerate(text.split(b"\n"))}
