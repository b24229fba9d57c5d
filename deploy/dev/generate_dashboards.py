"""Generates the Grafana dashboard, `deploy/k8s/components/dashboards/airscrew.json`, from the list of panels below.

Usage: `python deploy/dev/generate_dashboards.py [FILE]`. What is committed is deployed; a test compares the two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "deploy/k8s/components/dashboards/airscrew.json"

WIDE, HIGH = 8, 7
"""Of a panel, in Grafana's grid of 24 columns."""


class Panel(NamedTuple):
    """A graph of some queries, each with its legend."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def _rate(metric: str, by: str = "", where: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{where}}}[$__rate_interval]))".replace("{}", "")


def _timed(title: str, metric: str, where: str = "") -> Panel:
    series = f"{metric}_bucket{{{where}}}".replace("{}", "")
    return Panel(
        title,
        "s",
        tuple(
            (f"histogram_quantile({q}, sum by (le) (rate({series}[$__rate_interval])))", f"p{round(q * 100)}")
            for q in (0.5, 0.9, 0.99)
        ),
    )


ROWS: dict[str, tuple[Panel, ...]] = {
    "Work": (
        Panel(
            "Live executions",
            "short",
            (("sum by (flyte_execution_phase) (airscrew_executions_live)", "{{flyte_execution_phase}}"),),
        ),
        Panel(
            "Live executions by project",
            "short",
            (("sum by (flyte_project) (airscrew_executions_live)", "{{flyte_project}}"),),
        ),
        Panel(
            "Executions ended",
            "ops",
            ((_rate("airscrew_executions_ended_total", "flyte_execution_phase"), "{{flyte_execution_phase}}"),),
        ),
        Panel(
            "Attempts ended",
            "ops",
            ((_rate("airscrew_attempts_ended_total", "airscrew_attempt_phase"), "{{airscrew_attempt_phase}}"),),
        ),
        _timed("Execution, submission to end", "airscrew_execution_duration_seconds"),
        _timed("Submission to first turn", "airscrew_execution_acceptance_seconds"),
        _timed("Attempt, wait for its beginning", "airscrew_attempt_queued_seconds"),
        _timed("Attempt, running", "airscrew_attempt_duration_seconds"),
        Panel(
            "Cache",
            "ops",
            ((_rate("airscrew_cache_lookups_total", "airscrew_cache_status"), "{{airscrew_cache_status}}"),),
        ),
    ),
    "Leader": (
        Panel("Who leads", "short", (("airscrew_leader", "shard {{airscrew_shard}} {{pod}}"),)),
        Panel("Epoch", "short", (("max by (airscrew_shard) (airscrew_leader_epoch)", "shard {{airscrew_shard}}"),)),
        Panel("Not warm after a take-over", "short", (("sum(airscrew_leader_cold)", "executions"),)),
        _timed("Turn, to its commit", "airscrew_turn_duration_seconds"),
        _timed("Commit", "airscrew_commit_duration_seconds"),
        Panel(
            "Commits",
            "ops",
            ((_rate("airscrew_commits_total", "airscrew_commit_result"), "{{airscrew_commit_result}}"),),
        ),
        Panel(
            "Turns and rows",
            "ops",
            ((_rate("airscrew_turns_total"), "turns"), (_rate("airscrew_commit_rows_total"), "rows")),
        ),
        Panel("Workers", "short", (("sum(airscrew_workers)", "all"), ("sum(airscrew_workers_free)", "free"))),
        Panel(
            "In memory",
            "short",
            (
                ("sum(airscrew_workflows_active)", "executions"),
                ("sum(airscrew_nodes_active)", "nodes"),
                ("sum(airscrew_tasks_active)", "attempts"),
            ),
        ),
    ),
    "Queue": (
        Panel("Keys", "short", (("sum by (airscrew_key_state) (airscrew_queue_keys)", "{{airscrew_key_state}}"),)),
        Panel(
            "Oldest key that waits",
            "s",
            (("max by (airscrew_shard) (airscrew_queue_oldest_key_age_seconds)", "shard {{airscrew_shard}}"),),
        ),
        _timed("Wait in the queue", "workqueue_queue_duration_seconds", 'name=~"shard-.+"'),
        Panel(
            "Keys delivered",
            "ops",
            (
                (_rate("airscrew_queue_delivered_total"), "delivered"),
                (_rate("airscrew_queue_redelivered_total"), "again"),
                (_rate("airscrew_queue_collapsed_total"), "collapsed"),
                (_rate("airscrew_queue_refused_total"), "refused"),
            ),
        ),
        Panel("Depth", "short", (("workqueue_depth", "{{name}}"),)),
        Panel("Longest that is processed", "s", (("workqueue_longest_running_processor_seconds", "{{name}}"),)),
    ),
    "Executors": (
        Panel(
            "Executors",
            "short",
            (
                ("sum(airscrew_executors_connected)", "connected"),
                ("sum(airscrew_executors_closed)", "taking nothing"),
                ("sum(airscrew_executor_draining)", "draining"),
                ("sum(airscrew_executor_troubled)", "in trouble"),
            ),
        ),
        Panel(
            "Cores",
            "short",
            (
                ('sum(airscrew_slots_capacity{airscrew_resource="cpu"})', "capacity"),
                ('sum(airscrew_slots_used{airscrew_resource="cpu"})', "used"),
            ),
        ),
        Panel(
            "GPUs",
            "short",
            (
                ('sum(airscrew_slots_capacity{airscrew_resource="gpu"})', "capacity"),
                ('sum(airscrew_slots_used{airscrew_resource="gpu"})', "used"),
            ),
        ),
        Panel(
            "Attempts",
            "short",
            (
                ("sum(airscrew_executor_attempts_running)", "running"),
                ("sum(airscrew_attempts_pending)", "waiting for a slot"),
            ),
        ),
        Panel(
            "Pods of tasks",
            "short",
            (("sum by (airscrew_pod_stage) (airscrew_executor_pods)", "{{airscrew_pod_stage}}"),),
        ),
        Panel("Reports not acknowledged", "short", (("sum by (pod) (airscrew_executor_reports_spooled)", "{{pod}}"),)),
        Panel("Disk free", "bytes", (("airscrew_executor_disk_free_bytes", "{{pod}}"),)),
    ),
    "Calls": (
        Panel("Calls by code", "ops", ((_rate("grpc_server_handled_total", "grpc_code"), "{{grpc_code}}"),)),
        Panel(
            "Calls of users",
            "ops",
            (
                (
                    _rate("grpc_server_handled_total", "grpc_method", 'grpc_service="flyteidl.service.AdminService"'),
                    "{{grpc_method}}",
                ),
            ),
        ),
        _timed(
            "Calls of users, how long", "grpc_server_handling_seconds", 'grpc_service="flyteidl.service.AdminService"'
        ),
        Panel("Who watches", "short", (("sum(airscrew_admin_watchers)", "streams"),)),
        Panel("Memory", "bytes", (("process_resident_memory_bytes", "{{pod}}"),)),
        Panel("CPU", "percentunit", (("rate(process_cpu_seconds_total[$__rate_interval])", "{{pod}}"),)),
    ),
}


def dashboard() -> dict[str, Any]:
    """What Grafana imports."""
    return {
        "title": "Airscrew",
        "uid": "airscrew",
        "tags": ["airscrew"],
        "schemaVersion": 41,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row, panels in ROWS.items():
        yield {"id": number, "type": "row", "title": row, "gridPos": {"h": 1, "w": 24, "x": 0, "y": top}, "panels": []}
        number, top = number + 1, top + 1
        for place, panel in enumerate(panels):
            across, down = place % (24 // WIDE), place // (24 // WIDE)
            yield {
                "id": number,
                "type": "timeseries",
                "title": panel.title,
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "gridPos": {"h": HIGH, "w": WIDE, "x": across * WIDE, "y": top + down * HIGH},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + n), "expr": query, "legendFormat": legend, "exemplar": True}
                    for n, (query, legend) in enumerate(panel.queries)
                ],
            }
            number += 1
        top += -(-len(panels) // (24 // WIDE)) * HIGH


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(dashboard(), indent=1) + "\n")
