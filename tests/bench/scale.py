"""How large an execution may be: `make scale` runs some that are larger than most, each in a process of its own.

Everything is real but the task processes: SQLite, etcd, the queue, the propeller, an executor and the blob store, in
one event loop, so that what keeps the loop is seen whoever does it. The processes are played, so a task costs what the
executor does around it. Each case prints a line: how long the execution
took, the peak of the process's memory, how long the event loop was kept from going round at worst (by whom, on stderr),
and how long it takes to read the execution as the next leader, as a client that lists its nodes and as one that draws
its tree would.

    python -m tests.bench.scale [NAME…] [--share 0.1] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flyteidl.admin import execution_pb2
from flyteidl.core import literals_pb2, workflow_pb2

from libs.clients.queue import Enqueuer, Key, Reason
from libs.store import migrate
from libs.store.engine import open_async
from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.trees import Trees
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import Data
from services.standalone.etcd import EtcdServer, find_etcd
from tests.support import kinds
from tests.support.flytetypes import INTEGER, listed
from tests.support.propelling import Fleet, Instant
from tests.support.templates import list_of, node, plan_node, promise, workflow

PATIENCE_SECONDS = 1800.0
PAGE = 1000
LOOK_SECONDS = 0.005
"""How often the event loop should go round, and is asked whether it does."""
LONG_SECONDS = 0.5
"""Who keeps the loop for longer is printed."""


@dataclass(frozen=True)
class Case:
    """An execution that is large in one way."""

    count: int
    build: Callable[[int], Sequence[workflow_pb2.WorkflowTemplate]]
    """Its workflows; the last one is run."""
    inputs: Callable[[int], literals_pb2.LiteralMap]
    result: Callable[[int], int]
    max_parallelism: int = 0


def _mapped(count: int) -> Sequence[workflow_pb2.WorkflowTemplate]:
    """A list mapped over, and the sum of what comes out."""
    items = kinds.array("n0", node("item", "add"), sliced=True, x="xs")
    return [
        workflow(
            items,
            node("n1", "sum", xs="n0.o"),
            name="mapped",
            inputs={"xs": listed(INTEGER)},
            outputs={"o": INTEGER},
            returns={"o": "n1.o"},
        )
    ]


def _dynamic(count: int) -> Sequence[workflow_pb2.WorkflowTemplate]:
    """A task that asks for nodes."""
    return [
        workflow(
            node("n0", "many", n="n"),
            name="dynamic",
            inputs={"n": INTEGER},
            outputs={"o": INTEGER},
            returns={"o": "n0.o"},
        )
    ]


def _children(count: int) -> Sequence[workflow_pb2.WorkflowTemplate]:
    """A parent that launches an execution for each of its nodes."""
    child = workflow(
        node("n0", "add", x="x"), name="child", inputs={"x": INTEGER}, outputs={"o": INTEGER}, returns={"o": "n0.o"}
    )
    launching = [plan_node(f"n{number}", "child", x="x") for number in range(count)]
    return [child, _summed("parent", launching)]


def _wide(count: int) -> Sequence[workflow_pb2.WorkflowTemplate]:
    """Nodes that could all run at once."""
    return [_summed("wide", [node(f"n{number}", "add", x="x") for number in range(count)])]


def _summed(name: str, nodes: Sequence[workflow_pb2.Node]) -> workflow_pb2.WorkflowTemplate:
    results = list_of(*(promise(f"{each.id}.o") for each in nodes))
    return workflow(
        *nodes,
        node("end", "sum", xs=results),
        name=name,
        inputs={"x": INTEGER},
        outputs={"o": INTEGER},
        returns={"o": "end.o"},
    )


def _integers(**values: int) -> literals_pb2.LiteralMap:
    found = literals_pb2.LiteralMap()
    for name, number in values.items():
        found.literals[name].scalar.primitive.integer = number
    return found


def _list(count: int) -> literals_pb2.LiteralMap:
    found = literals_pb2.LiteralMap()
    for number in range(count):
        found.literals["xs"].collection.literals.add().scalar.primitive.integer = number
    return found


CASES: Mapping[str, Case] = {
    "mapped": Case(100_000, _mapped, _list, kinds.total),
    "dynamic": Case(10_000, _dynamic, lambda count: _integers(n=count), kinds.total),
    "children": Case(1_000, _children, lambda count: _integers(x=1), lambda count: 2 * count),
    "wide": Case(5_000, _wide, lambda count: _integers(x=1), lambda count: 2 * count, max_parallelism=50),
}


class Watch:
    """Looks whether the event loop goes round, and prints what it does when it has not for long."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._round = time.perf_counter()
        self._over = threading.Event()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look())
        watching = threading.Thread(target=self._print, args=[threading.get_ident()])
        watching.start()
        try:
            yield
        finally:
            self._over.set()
            watching.join()
            looking.cancel()

    async def _look(self) -> None:
        self._round = time.perf_counter()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.perf_counter()
            self.longest = max(self.longest, now - self._round - LOOK_SECONDS)
            self._round = now

    def _print(self, loop: int) -> None:
        printed = 0.0
        while not self._over.wait(LONG_SECONDS / 2):
            if self._round != printed and time.perf_counter() - self._round > LONG_SECONDS:
                printed = self._round
                print("kept by:", *traceback.format_stack(sys._current_frames()[loop])[-6:], file=sys.stderr)


async def run(name: str, count: int, folder: Path, etcd: EtcdServer) -> str:
    """Runs a case and says how it went."""
    case, watch = CASES[name], Watch()
    url = f"sqlite:///{folder}/airscrew.db"
    migrate.upgrade(url)
    async with Fleet(folder, url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller()
        fleet.executor(Instant())
        workflows = case.build(count)
        await fleet.register_workflows(*workflows)
        begun = time.perf_counter()
        async with watch.watching():
            await _start(fleet, workflows[-1], case, count)
            await _until_over(fleet)
        seconds = time.perf_counter() - begun
        state = await fleet.execution(1)
        assert state.phase is ExecutionPhase.SUCCEEDED, state.error
        found = literals_pb2.LiteralMap.FromString((state.outputs and state.outputs.inline) or b"").literals["o"]
        assert found.scalar.primitive.integer == case.result(count), found
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        reading = await _read(fleet, url)
    return f"{name:9} {count:7}  {seconds:6.1f} s  {peak:5} MiB  loop kept {watch.longest:5.2f} s  {reading}"


async def _start(fleet: Fleet, template: workflow_pb2.WorkflowTemplate, case: Case, count: int) -> None:
    """Accepts the execution as `admin` would: its inputs lie in the blob store."""
    inputs = case.inputs(count).SerializeToString()
    path = fleet.blob / "inputs.pb"
    path.write_bytes(inputs)
    record = kinds.submission(template, 1)
    spec = execution_pb2.ExecutionSpec(max_parallelism=case.max_parallelism)
    state = replace(record.execution, inputs=Data.at(str(path), len(inputs)), spec=spec.SerializeToString())
    await fleet.executions.create(replace(record, execution=state))
    async with Enqueuer(fleet.queue_address) as enqueuer:
        enqueuer.enqueue(Key(1, 0, "p", reasons=Reason.SUBMITTED))


async def _until_over(fleet: Fleet) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await fleet.execution(1)).phase.terminal:
            await asyncio.sleep(0.05)


async def _read(fleet: Fleet, url: str) -> str:
    """How long it takes to read the execution, in three ways."""
    ledger = Ledger(url)
    begun = time.perf_counter()
    (snapshot,) = await asyncio.to_thread(ledger.load, 0, [1])
    loaded = time.perf_counter()
    ledger.close()
    token, nodes = "", 0
    while True:
        page = await fleet.executions.list_nodes(Query(limit=PAGE, token=token), 1)
        nodes, token = nodes + len(page.items), page.token
        if not token:
            break
    listed_at = time.perf_counter()
    assert nodes == len(snapshot.nodes)
    engine = open_async(url)
    tree = await Trees(engine).tree(1)
    drawn = time.perf_counter()
    await engine.dispose()
    return (
        f"{nodes} nodes: loaded {loaded - begun:.2f} s, listed {listed_at - loaded:.2f} s, "
        f"drawn {drawn - listed_at:.2f} s ({len(tree.nodes)} lines)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="How large an execution may be.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the full size")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    chosen = parser.parse_args()
    if len(chosen.names) == 1:
        _alone(chosen.names[0], chosen.share, chosen.profile)
        return
    for name in chosen.names or CASES:
        command = [sys.executable, "-m", "tests.bench.scale", name, f"--share={chosen.share}"]
        subprocess.run(command + ["--profile"] * chosen.profile, check=True)


def _alone(name: str, share: float, profiled: bool) -> None:
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory(prefix="airscrew-scale-") as folder:
        etcd = EtcdServer(find_etcd(), Path(folder) / "etcd")
        etcd.start()
        try:
            work = run(name, max(1, int(CASES[name].count * share)), Path(folder), etcd)
            print(profile.runcall(asyncio.run, work) if profiled else asyncio.run(work), flush=True)
        finally:
            etcd.stop()
    if profiled:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


if __name__ == "__main__":
    main()
