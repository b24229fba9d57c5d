"""The short forms of what `make bench` measures when it is asked to: whether it measures, not what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import flat, mapped, start, systems, traced, waiting
from tests.bench.__main__ import PARTS
from tests.bench.workloads import Mode

KEYS = {"workload", "mode", "n", "seconds", "runs"}
ON_ONE_SYSTEM = {"map", "flat", "wait", "start", "traced"}
"""They share a system here, for its start is most of what they would take."""


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", sorted(PARTS.keys() - ON_ONE_SYSTEM))
def test_each_part_can_be_measured(name: str) -> None:
    found = [json.loads(line) for line in PARTS[name]("sqlite", short=True)]
    assert found
    for each in found:
        assert each["workload"] == name.upper() and set(each) >= KEYS and each["tasks_per_s"] > 0


@pytest.mark.timeout(90)
def test_what_is_large_or_has_nothing_to_do_can_be_measured(tmp_path: Path) -> None:
    with (
        traced.collecting() as (_, tracing),
        systems.started("sqlite", systems.TASK_CODE | systems.QUIET | tracing) as bench,
    ):
        lines = [mapped.measure(bench, 50, 1), *flat.measure(bench, (5, 20)), waiting.measure(bench, 20, 3, 0.1)]
        lines.append(start.idle(bench, 0.0))
        lines.extend(traced.told([traced.compare(bench, bench, Mode.ENGINE, 5, 1)], "sqlite", Mode.ENGINE, 5))
    found: list[dict[str, Any]] = list(map(json.loads, lines))
    assert all(set(each) >= KEYS and each["seconds"] > 0 for each in found)
    mapped_, small, large, waits, idle, off, full = found
    assert (mapped_["workload"], mapped_["n"]) == ("MAP", 50) and mapped_["propeller_peak_mb"] > 0
    assert (small["n"], small["ratio"], large["n"]) == (6, 1.0, 21) and large["ratio"] > 0
    assert (waits["workload"], waits["n"], waits["runs"]) == ("WAIT", 20, 3) and waits["p50_ms"] > 0
    assert {"admin", "queue", "propeller", "executor", "etcd"} < idle["pss_mb"].keys()
    assert idle["together_mb"]["rss"] >= idle["together_mb"]["pss"] > 0
    assert (off["tracing"], full["tracing"], off["ratio"]) == ("off", "full", 1.0) and full["ratio"] > 0
    started = start.start(tmp_path)
    assert min(started.ready, started.executor) > 0
