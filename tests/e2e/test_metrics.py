"""Whoever scrapes the services of a running system finds what `docs/metrics.md` lists: all of it, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.rpc import metered
from libs.telemetry.metrics import Metric
from services.admin import meters as admin
from services.executor import meters as executor
from services.propeller import levels
from services.propeller import meters as propeller
from services.propeller.garbage import housekeeping
from services.queue import meters as queue
from tests.support import executions, otlp, scrape, smalltasks
from tests.support.markers import Markers
from tests.support.system import System

LISTED: dict[str, tuple[Metric, ...]] = {
    "admin": (*admin.METRICS, *metered.METRICS),
    "queue": (*queue.METRICS, *metered.METRICS),
    "propeller": (*levels.METRICS, *housekeeping.METRICS, *propeller.METRICS, *metered.METRICS),
    "executor": (*executor.METRICS, *metered.METRICS),
}

# Not ours: what the client library tells of a Python process and of who sends.
OTHERS = ("process_", "python_", "target")


@pytest.fixture(scope="module", autouse=True)
def worked(system: System, registrar: smalltasks.Registrar, markers: Markers) -> Iterator[None]:
    """A workflow of two tasks that may be cached has run, twice, and another one runs. Every service was asked for its
    health, as Kubernetes does it: nobody asks an executor anything else."""
    for service in scrape.SERVICES:
        with grpc.insecure_channel(system.state()["processes"][service]["address"]) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    task = registrar.marking_task("measured", markers.path, seconds=0.0, cached=True)
    plan = registrar.lanes("measured", task, lanes=2)
    for _ in range(2):
        executions.succeed(registrar, registrar.launch(plan))
    endless = registrar.marking_task("measured-for-long", markers.path, seconds=300.0)
    running = registrar.launch(registrar.lanes("measured-for-long", endless, lanes=1))
    yield
    registrar.abort(running, "measured")


@pytest.mark.parametrize("service", scrape.SERVICES)
def test_a_service_shows_what_is_listed_for_it_with_the_labels_that_are_listed(
    scraped: dict[str, int], service: str
) -> None:
    wanted = {
        metric.prometheus: {attribute.replace(".", "_") for attribute in metric.attributes}
        for metric in LISTED[service]
    }
    deadline = time.monotonic() + 30
    while (found := _of_ours(scrape.scrape(scraped[service]).labels)) != wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found == wanted


def test_what_a_run_costs_is_counted_everywhere(scraped: dict[str, int]) -> None:
    deadline = time.monotonic() + 30  # what a board shows is some seconds old
    while True:
        leader, front, runner = (scrape.scrape(scraped[each]) for each in ("propeller", "admin", "executor"))
        if leader.total("airscrew_executions_ended_total") >= 2 or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert leader.total("airscrew_cache_lookups_total", airscrew_cache_status="hit") >= 2
    assert leader.total("airscrew_executions_ended_total", flyte_execution_phase="SUCCEEDED") >= 1
    assert leader.total("airscrew_attempts_ended_total", airscrew_attempt_phase="SUCCEEDED") >= 1
    assert leader.total("airscrew_leader") == 1
    assert leader.total("airscrew_turn_duration_seconds_count") >= 1
    assert runner.total("airscrew_executor_attempts_ended_total", airscrew_attempt_phase="SUCCEEDED") >= 1
    assert runner.total("airscrew_executor_sessions") == 1
    assert (
        front.total(
            "grpc_server_handled_total",
            grpc_service="flyteidl.service.AdminService",
            grpc_method="CreateExecution",
            grpc_code="OK",
        )
        >= 1
    )
    assert scrape.scrape(scraped["queue"]).total("airscrew_queue_delivered_total") >= 1


def _of_ours(labels: dict[str, set[str]]) -> dict[str, set[str]]:
    return {name: found for name, found in labels.items() if not name.startswith(OTHERS)}


def test_a_collector_receives_traces_metrics_and_logs_of_every_service(
    receiver: otlp.Receiver, registrar: smalltasks.Registrar, markers: Markers
) -> None:
    task = registrar.marking_task("collected", markers.path, seconds=0.0)
    launched = registrar.launch(registrar.lanes("collected", task, lanes=1))
    executions.succeed(registrar, launched)
    everybody = {f"airscrew-{service}" for service in scrape.SERVICES}
    about = executions.text(launched)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        told = [log for log in receiver.logs if log.attributes.get("execution") == about and log.trace_id]
        traced = receiver.about("flyte.execution.id", about)
        services = {service for service, _ in receiver.metrics}, {log.service for log in receiver.logs}
        if services == (everybody, everybody) and told and traced:
            break
        time.sleep(0.5)
    assert {service for service, _ in receiver.metrics} == everybody
    assert {log.service for log in receiver.logs} == everybody
    assert ("airscrew-propeller", "airscrew.turn.duration") in receiver.metrics
    assert {log.trace_id for log in told} == traced, "a log leads to its trace"
