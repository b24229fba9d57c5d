"""One running system for most tests of this folder, and clients of it.

Starting the system takes seconds and a Flyte client takes another for each process, so that what can be shared is:
the system, the registration of the examples, and one `FlyteRemote`. Tests that kill or stop parts of it have systems
of their own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution

from tests.support import example_cases, flyte, otlp, scrape, smalltasks
from tests.support.example_cases import ALL, CONVERTED, GATED, Example, Kind
from tests.support.markers import Markers
from tests.support.system import System

CLIENTS_AT_ONCE = 3


@pytest.fixture(scope="session")
def receiver() -> Iterator[otlp.Receiver]:
    """Gets the spans of the shared system."""
    with otlp.Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def scraped() -> dict[str, int]:
    """Where each service of the shared system shows its metrics."""
    return scrape.ports()


@pytest.fixture(scope="session")
def system(
    receiver: otlp.Receiver, scraped: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """The shared system: SQLite, one propeller, one executor, traced and measured."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "500",  # milliseconds until a span is sent, so that tests need not wait long
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
        **scrape.settings(scraped),
        **smalltasks.settings(tmp_path_factory.mktemp("small"), slots=4),
    }
    with System.start(tmp_path_factory.mktemp("system"), environment=environment) as system:
        yield system


@pytest.fixture(scope="session")
def client(system: System, tmp_path_factory: pytest.TempPathFactory) -> flyte.Client:
    return flyte.Client(system.endpoint, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def remote(client: flyte.Client) -> FlyteRemote:
    return client.remote()


@pytest.fixture(scope="session")
def stubs(client: flyte.Client) -> Iterator[flyte.Stubs]:
    with client.stubs() as stubs:
        yield stubs


@pytest.fixture(scope="session")
def registrar(stubs: flyte.Stubs) -> smalltasks.Registrar:
    """Registers small tasks and workflows by hand in the shared system."""
    return smalltasks.Registrar(stubs)


@pytest.fixture(scope="session")
def markers(tmp_path_factory: pytest.TempPathFactory) -> Markers:
    """Where small tasks of the shared system leave their marks."""
    return Markers(tmp_path_factory.mktemp("marks") / "marks.jsonl")


@pytest.fixture(scope="session")
def examples_version(client: flyte.Client) -> str:
    """The version under which `pyflyte register` has registered all examples."""
    version = "examples"
    # Files, not their folder: for a folder `pyflyte` would take the checkout for the project and send all of it.
    files = sorted({str(example.path) for example in (*ALL, GATED)})
    finished = client.pyflyte("register", "--version", version, *files)
    assert finished.returncode == 0, finished.stdout
    return version


@pytest.fixture(scope="session")
def by_pyflyte(
    client: flyte.Client, examples_version: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Example], subprocess.CompletedProcess[str]]]:
    """The finished `pyflyte run --remote --wait` of an example; all are started at the first question."""
    folder = tmp_path_factory.mktemp("examples")

    def run(example: Example) -> subprocess.CompletedProcess[str]:
        book = example_cases.book(folder)
        args = [book if argument == "{book}" else argument for argument in example.args]
        wait = ("--remote", "--wait", "--poll-interval", "1")
        return client.pyflyte("run", *wait, str(example.path), example.entity, *args, timeout_seconds=280)

    with ThreadPoolExecutor(CLIENTS_AT_ONCE, thread_name_prefix="pyflyte") as pool:
        running = {example.name: pool.submit(run, example) for example in ALL}
        yield lambda example: running[example.name].result()


@pytest.fixture(scope="session")
def by_remote(
    client: flyte.Client, examples_version: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Example], FlyteWorkflowExecution]]:
    """The finished execution of an example in `CONVERTED` that `FlyteRemote` fetched and executed; all are started at
    once.
    """
    folder = tmp_path_factory.mktemp("inputs")

    def run(example: Example) -> FlyteWorkflowExecution:
        remote = client.remote()
        fetch = {
            Kind.WORKFLOW: remote.fetch_workflow,
            Kind.TASK: remote.fetch_task,
            Kind.LAUNCH_PLAN: remote.fetch_launch_plan,
        }[example.kind]
        execution = remote.execute(
            fetch(name=example.name, version=examples_version),
            inputs=example.input_values(folder),
            type_hints=example.python.python_interface.inputs,
        )
        return flyte.wait(remote, execution, timeout_seconds=280)

    chosen = [each for each in ALL if each.file in CONVERTED]
    with ThreadPoolExecutor(len(chosen), thread_name_prefix="remote") as pool:
        running: dict[str, Future[FlyteWorkflowExecution]] = {each.name: pool.submit(run, each) for each in chosen}
        yield lambda example: running[example.name].result()


@pytest.fixture(scope="session")
def finished_example(
    by_pyflyte: Callable[[Example], subprocess.CompletedProcess[str]], client: flyte.Client
) -> Callable[[Example], FlyteWorkflowExecution]:
    """The finished execution of an example, with its nodes: that of `pyflyte`, for an execution takes seconds."""
    known: dict[str, FlyteWorkflowExecution] = {}

    def fetch(example: Example) -> FlyteWorkflowExecution:
        if example.name not in known:
            remote = client.remote()
            execution = remote.fetch_execution(name=flyte.execution_name(by_pyflyte(example).stdout))
            known[example.name] = remote.sync(execution, sync_nodes=True)
        return known[example.name]

    return fetch


@pytest.fixture(scope="session")
def fragile_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own for tests that break parts of it; untraced, with room for many small tasks."""
    environment = {
        **smalltasks.settings(tmp_path_factory.mktemp("small"), slots=64),
        "AIRSCREW_PROPELLER_LEASE_TTL_SECONDS": "2",  # a killed leader keeps its place that long, every time
    }
    with System.start(tmp_path_factory.mktemp("fragile"), environment=environment) as system:
        yield system


@pytest.fixture(scope="session")
def fragile(fragile_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[smalltasks.Registrar]:
    with flyte.Client(fragile_system.endpoint, tmp_path_factory.mktemp("home")).stubs() as stubs:
        yield smalltasks.Registrar(stubs)


@pytest.fixture(scope="session")
def fragile_markers(tmp_path_factory: pytest.TempPathFactory) -> Markers:
    """Where tasks of the fragile system leave their marks."""
    return Markers(tmp_path_factory.mktemp("marks") / "marks.jsonl")
