"""The order of measuring: for each mode, each workload is warmed up, run several times and looked at afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flyteidl.core import identifier_pb2

from tests.bench import workloads
from tests.bench.client import Client
from tests.bench.measured import Result, cpu_of_tasks, cpu_seconds, per_run
from tests.bench.workloads import Mode, Shape
from tests.support.flyte import Stubs
from tests.support.system import System

HOPS_OF = 50
"""Of about so many runs it is asked where their time went."""

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
        for case in _cases(["w1"] if sizes.short and mode is not Mode.ENGINE else wanted, sizes):
            plan = workloads.register(stubs, case.shape, mode)
            with client.watching():
                yield _measure(client, pids, plan, case, mode, sizes, database)


@dataclass(frozen=True, slots=True)
class _Case:
    """What one run submits."""

    workload: str
    shape: Shape
    count: int = 1
    bulk: bool = False

    def run(self, client: Client, plan: identifier_pb2.Identifier) -> tuple[float, list[str]]:
        return client.run_in_bulk(plan, self.count) if self.bulk else client.run(plan, self.count)


def _cases(wanted: Sequence[str], sizes: Sizes) -> Iterator[_Case]:
    for name in wanted:
        if name == "w1":
            yield _Case(name, workloads.chain(1))
        elif name == "w2":
            yield _Case(name, workloads.chain(sizes.chain))
        elif name == "w3":
            yield from (_Case(name, workloads.fan(width)) for width in sizes.widths)
        else:
            yield from (_Case(name, workloads.diamond(), sizes.workflows, bulk) for bulk in (True, False))


def _measure(
    client: Client,
    pids: Mapping[str, int],
    plan: identifier_pb2.Identifier,
    case: _Case,
    mode: Mode,
    sizes: Sizes,
    database: str,
) -> Result:
    runs = sizes.runs.get((case.workload, mode), 3)
    if not sizes.short and runs > 1:
        for _ in range(max(1, runs // 10)):
            case.run(client, plan)
    before = _cpu_seconds(pids, mode)
    tries: list[float] = []
    names: list[str] = []
    whole: list[tuple[str, int, int]] = []
    for _ in range(runs):
        seconds, names = case.run(client, plan)
        ended_us = time.time_ns() // 1000
        tries.append(seconds)
        whole.append((names[0], ended_us - round(seconds * 1e6), ended_us))
    used = per_run(before, _cpu_seconds(pids, mode), runs)
    for each in names:
        client.check(each, case.shape.tasks)
    return Result(
        workload=case.workload.upper(),
        mode=mode,
        n=case.shape.tasks * case.count,
        tries=tuple(tries),
        database=database,
        submission="SubmitExecutions" if case.bulk else "CreateExecution",
        cpu_ms=used,
        hops=_hops(client, whole) if case.count == 1 and case.workload != "w3" else {},
    )


def _cpu_seconds(pids: Mapping[str, int], mode: Mode) -> dict[str, float]:
    return cpu_seconds(pids) | ({} if mode is Mode.ENGINE else cpu_of_tasks(pids["executor"]))


def _hops(client: Client, runs: Sequence[tuple[str, int, int]]) -> dict[str, float]:
    """The middle half of the runs, on average: so that the hops add up, and no hiccup counts."""
    by_length = sorted(runs, key=lambda run: run[2] - run[1])
    middle = by_length[len(runs) // 4 : max(len(runs) * 3 // 4, len(runs) // 4 + 1)]
    found = [client.hops(*run) for run in middle[:: max(1, len(middle) // HOPS_OF)]]
    return {hop: sum(each[hop] for each in found) / len(found) for hop in found[0]}
