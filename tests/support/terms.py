"""A leader's term without processes, network or database: the ledger is in memory, executors are played by the test.

async with leading(tmp_path) as it:
    it.submit(PLAN, 1)
    executor = it.connect("e1")
    assignment = await executor.assigned("n0")
    executor.report(assignment.id, ReportPhase.SUCCEEDED)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2

from libs import blob
from libs.runtime.clock import Clock, SystemClock
from libs.store.records import LaunchPlanRecord
from libs.telemetry.traces import Tracing
from libs.wire.session import Ack, Assignment, ExecutorSays, FromLeader, Hello, Report, ReportPhase, Stop
from libs.workflow.identity import AttemptId
from libs.workflow.phases import ExecutionPhase
from libs.workflow.quantities import Slots
from libs.workflow.state import Changes, Data, Snapshot
from services.propeller.ends import Ends
from services.propeller.levels import Levels
from services.propeller.meters import Meters
from services.propeller.sessions import Session
from services.propeller.settings import PropellerSettings
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.term import Term
from tests.support import kinds
from tests.support.graphs import Plan, closure_of, state_of
from tests.support.memory_ledger import MemoryLedger, MemoryStore
from tests.support.waiting import until


class Interceptor(MemoryLedger):
    """A ledger whose commits and loads a test may look at, delay (they run in threads) or make fail."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.before_commit: Callable[[Sequence[Changes]], None] = lambda batch: None
        self.after_commit: Callable[[Sequence[Changes]], None] = lambda batch: None
        self.before_load: Callable[[Sequence[int]], None] = lambda keys: None

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        self.before_commit(batch)
        super().commit(shard, epoch, batch)
        self.after_commit(batch)

    def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        self.before_load(keys)
        return super().load(shard, keys)


@dataclass
class Executor:
    """An executor that does what a test says, connected to a term."""

    term: Term
    name: str
    incarnation: str
    session: Session
    sent: list[FromLeader] = field(default_factory=list)
    """Everything that the leader has sent in this session."""

    async def read(self) -> None:
        async for batch in self.session.outbox:
            self.sent.extend(batch)

    def of(self, kind: type[Any], node: str, attempt: int = 0) -> list[Any]:
        """The messages of one kind about an attempt."""
        return [each for each in self.sent if isinstance(each, kind) and each.id[1:] == (node, attempt)]

    async def assigned_of(self, execution: int, node: str) -> Assignment:
        """The assignment of a node of one of several executions."""
        id = AttemptId(execution, node, 0)
        await until(lambda: any(isinstance(each, Assignment) and each.id == id for each in self.sent), f"{id}")
        return next(each for each in self.sent if isinstance(each, Assignment) and each.id == id)

    async def assigned(self, node: str, attempt: int = 0) -> Assignment:
        await until(lambda: bool(self.of(Assignment, node, attempt)), f"assignment of {node}/{attempt}")
        found = self.of(Assignment, node, attempt)[0]
        assert isinstance(found, Assignment)
        return found

    async def stopped(self, node: str, attempt: int = 0) -> None:
        await until(lambda: bool(self.of(Stop, node, attempt)), f"stop of {node}/{attempt}")

    async def acknowledged(self, node: str, attempt: int = 0) -> None:
        await until(lambda: bool(self.of(Ack, node, attempt)), f"acknowledgement of {node}/{attempt}")

    def report(self, id: AttemptId, phase: ReportPhase, seq: int = 1) -> None:
        self.say(report_of(id, phase, seq))

    def say(self, *reports: Report) -> None:
        self.term.sessions.receive(self.session, ExecutorSays(reports=reports))

    def disconnect(self) -> None:
        self.term.sessions.close(self.session)


@dataclass
class Leading:
    """A term that leads."""

    term: Term
    store: MemoryStore
    writer: Interceptor
    reader: Interceptor
    lost: asyncio.Event
    stopping: asyncio.Event
    leading: asyncio.Task[None]
    group: asyncio.TaskGroup

    def submit(self, plan: Plan, *keys: int) -> None:
        """Accepts executions as `admin` would, and tells the leader."""
        self.store.register(state_of(plan).workflow, closure_of(plan).SerializeToString())
        for key in keys:
            self.store.submit(state_of(plan, key=key))
            self.term.reconciler.attend(key)

    def launch(self, *templates: workflow_pb2.WorkflowTemplate, key: int, traceparent: str = "", **inputs: int) -> None:
        """Accepts an execution of the last of these workflows over the tasks of `kinds`; earlier ones are launched by
        later ones.
        """
        launched: dict[str, LaunchPlanRecord] = {}
        for template in templates:
            closure = kinds.compiled(template, launched)
            plan = launched[template.id.name] = kinds.launch_plan(template)
            self.store.register(plan.workflow, closure.SerializeToString())
            self.store.plans[plan.id] = plan
        self.store.submit(replace(kinds.accepted(templates[-1], key, **inputs), traceparent=traceparent))
        self.term.reconciler.attend(key)

    async def child_of(self, key: int, node_id: str) -> int:
        """The key of the execution that a node has launched."""
        await until(lambda: node_id in self.store.nodes[key], f"node {node_id} of {key}")
        child_key = self.store.nodes[key][node_id].child_key
        assert child_key is not None
        return child_key

    def connect(
        self,
        name: str,
        life: str = "1",
        cores: int = 64,
        snapshot: tuple[Report, ...] = (),
        reads: bool = True,
        backlog: int = 0,
        former: str = "",
        begun: tuple[AttemptId, ...] = (),
    ) -> Executor:
        """An executor says hello; with `reads` it takes what it is sent. A life `former` had `begun` these."""
        capacity = Slots(1000 * cores, cores << 30, 0)
        hello = Hello(name, f"{name}-{life}", capacity, snapshot, 0, {}, "test", backlog=backlog)
        if former:
            hello = replace(hello, former=f"{name}-{former}", begun=begun)
        executor = Executor(self.term, name, hello.incarnation, self.term.sessions.open(hello))
        if reads:
            self.group.create_task(executor.read(), name=f"outbox-{name}")
        return executor

    async def phase(self, key: int, phase: ExecutionPhase) -> None:
        await until(lambda: self.store.executions[key].phase is phase, f"{key} in {phase.name}")


@asynccontextmanager
async def leading(
    tmp_path: Path,
    store: MemoryStore | None = None,
    levels: Levels | None = None,
    meters: Meters | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[Leading]:
    """A term that has begun to lead, with what a former one has left in `store`; at the end it is stopped in order."""
    store = store or MemoryStore()
    writer, reader = Interceptor(store), Interceptor(store)
    ledgers = iter((writer, reader))
    leader_store = LeaderStore(lambda: next(ledgers))
    epoch = await leader_store.claim(0, "cluster", 1, "holder", "address", 0)
    await leader_store.intents([])  # opens the reader's
    fields = {"executor_grace_seconds": 2.0, "heartbeat_seconds": 0.5, "sweep_seconds": 60.0}
    term = Term(
        shard=0,
        epoch=epoch,
        settings=PropellerSettings("", "", "", (), "", **(fields | settings)),
        store=leader_store,
        blob=blob.open(str(tmp_path)),
        feed=lambda shard, epoch: None,
        ends=Ends(None),
        clock=clock or SystemClock(),
        spans=Spans(Tracing()),
        leading=lambda: True,
        levels=levels,
        meters=meters,
    )
    lost, stopping = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(term.lead(lost, stopping), name="term")
        await until(lambda: term.take_over.synced, "the take-over")
        yield Leading(term, store, writer, reader, lost, stopping, task, group)
        stopping.set()
    await leader_store.close()


def report_of(id: AttemptId, phase: ReportPhase, seq: int = 1) -> Report:
    """What an executor says of an attempt that computes 1, or breaks."""
    outputs = literals_pb2.LiteralMap()
    outputs.literals["o"].scalar.primitive.integer = 1
    error = execution_pb2.ExecutionError(code="Broken", message="it broke", kind=1)
    return Report(
        id,
        seq,
        phase,
        SystemClock().now_us(),
        outputs=Data.of(outputs.SerializeToString()) if phase is ReportPhase.SUCCEEDED else None,
        error=error.SerializeToString() if phase is ReportPhase.FAILED else b"",
    )
