"""The short form of `make bench`: whether it measures, not what."""

from __future__ import annotations

import json

import pytest

from tests.bench import suite
from tests.bench.__main__ import measure
from tests.bench.workloads import Mode

KEYS = {"workload", "mode", "n", "seconds", "tasks_per_s", "p50_ms", "ms_per_task", "runs"}


@pytest.mark.timeout(90)
def test_every_workload_runs_on_a_real_system_and_its_tasks_are_listed_afterwards() -> None:
    results = list(measure("sqlite", list(suite.WORKLOADS), [Mode.ENGINE, Mode.FORK], suite.SHORT))
    assert [(each.workload, each.mode, each.n) for each in results] == [
        ("W1", Mode.ENGINE, 1),
        ("W2", Mode.ENGINE, suite.SHORT.chain),
        *(("W3", Mode.ENGINE, width + 1) for width in suite.SHORT.widths),
        *[("W4", Mode.ENGINE, suite.SHORT.workflows * 5)] * 2,
        ("W1", Mode.FORK, 1),
    ]
    for result in results:
        assert result.seconds > 0
        assert set(json.loads(result.line())) >= KEYS
