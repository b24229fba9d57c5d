"""The short forms of the parts of `make bench`: whether they measure, not what."""

from __future__ import annotations

import json

import pytest

from tests.bench.__main__ import PARTS

KEYS = {"workload", "mode", "n", "seconds", "tasks_per_s", "runs"}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", PARTS)
def test_each_part_can_be_measured(name: str) -> None:
    found = [json.loads(line) for line in PARTS[name]("sqlite", short=True)]
    assert found
    for each in found:
        assert each["workload"] == name.upper() and set(each) >= KEYS and each["tasks_per_s"] > 0
