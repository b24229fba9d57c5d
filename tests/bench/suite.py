"""The order of measuring: for each mode, each workload is warmed up, run several times and looked at afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flyteidl.core import identifier_pb2

from tests.bench import workloads
from tests.bench.client import Client
from tests.bench.measured import Result, cpu_seconds, per_run
from tests.bench.workloads import Mode, Shape
from tests.support.flyte import Stubs
from tests.support.system import System

WORKLOADS = ("w1", "w2", "w3", "w4")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is run."""

    chain: int
    widths: tuple[int, ...]
    workflows: int
    runs: Mapping[tuple[str, Mode], int]
    """Of a workload in a mode; 3 where it is not said."""
    short: bool = False
    """Nothing is warmed up, and of task processes no more is asked than one."""


FULL = Sizes(
    workloads.CHAIN,
    workloads.WIDTHS,
    workloads.WORKFLOWS,
    {
        ("w1", Mode.ENGINE): 300,
        ("w1", Mode.REUSE): 50,
        ("w1", Mode.FORK): 10,
        ("w2", Mode.ENGINE): 7,
        ("w3", Mode.ENGINE): 5,
        ("w4", Mode.ENGINE): 5,
        ("w2", Mode.FORK): 1,
        ("w3", Mode.FORK): 1,
        ("w4", Mode.FORK): 1,
    },
)
SHORT = Sizes(5, (20, 40), 5, {("w1", Mode.ENGINE): 10, ("w1", Mode.FORK): 1, ("w1", Mode.REUSE): 1}, short=True)


def run(
    system: System, stubs: Stubs, database: str, wanted: Sequence[str], modes: Sequence[Mode], sizes: Sizes
) -> Iterator[Result]:
    """One result after the other."""
    pids = {name: int(process["pid"]) for name, process in system.state()["processes"].items()}
    for mode in modes:
        client = Client(stubs, f"{mode}-")
        for name, shape, count in _cases(["w1"] if sizes.short and mode is not Mode.ENGINE else wanted, sizes):
            plan = workloads.register(stubs, shape, mode)
            with client.watching():
                yield _measure(client, pids, plan, name, mode, shape, count, sizes, database)


def _cases(wanted: Sequence[str], sizes: Sizes) -> Iterator[tuple[str, Shape, int]]:
    for name in wanted:
        if name == "w1":
            yield name, workloads.chain(1), 1
        elif name == "w2":
            yield name, workloads.chain(sizes.chain), 1
        elif name == "w3":
            yield from ((name, workloads.fan(width), 1) for width in sizes.widths)
        else:
            yield name, workloads.diamond(), sizes.workflows


def _measure(
    client: Client,
    pids: Mapping[str, int],
    plan: identifier_pb2.Identifier,
    name: str,
    mode: Mode,
    shape: Shape,
    count: int,
    sizes: Sizes,
    database: str,
) -> Result:
    runs = sizes.runs.get((name, mode), 3)
    if not sizes.short:
        for _ in range(max(1, runs // 10)):
            client.run(plan, count)
    before = cpu_seconds(pids)
    tries, names = [], []
    for _ in range(runs):
        seconds, names = client.run(plan, count)
        tries.append(seconds)
    used = per_run(before, cpu_seconds(pids), runs)
    for each in names:
        client.check(each, shape.tasks)
    return Result(name.upper(), mode, shape.tasks * count, tuple(tries), database, used)
