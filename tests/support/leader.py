"""A propeller that does what a test says: a real gRPC server of `airscrew.propeller.v1`, without any state of its own.

leader = await Leader(epoch=7).start()
session = await leader.session()            # the next executor that says hello
session.assign(work.of(template))
report = await session.final(work.id)       # its final report; acknowledged unless `acknowledges` is off
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2

from libs.rpc import server as servers
from libs.workflow import errors
from protos import executor_pb2, propeller_pb2, propeller_pb2_grpc

TOKEN: Final = "only executors know this"
WAIT_SECONDS: Final = 30.0

FINAL: Final = frozenset(
    {
        executor_pb2.Report.PHASE_SUCCEEDED,
        executor_pb2.Report.PHASE_FAILED,
        executor_pb2.Report.PHASE_ABORTED,
        executor_pb2.Report.PHASE_REJECTED,
        executor_pb2.Report.PHASE_HANDED_BACK,
    }
)

Key = tuple[int, str, int]


def key(id: executor_pb2.AttemptId) -> Key:
    return id.execution, id.node, id.attempt


def error_of(report: executor_pb2.Report) -> execution_pb2.ExecutionError:
    """The error of a report that says FAILED."""
    assert report.phase == executor_pb2.Report.PHASE_FAILED, report
    return execution_pb2.ExecutionError.FromString(report.error)


def outputs_of(report: executor_pb2.Report) -> dict[str, literals_pb2.Literal]:
    """The inline outputs of a report that says SUCCEEDED."""
    assert report.phase == executor_pb2.Report.PHASE_SUCCEEDED, (report, report.error)
    return dict(literals_pb2.LiteralMap.FromString(report.outputs.inline).literals)


class ExecutorSession:
    """One executor's session, as the leader sees it."""

    def __init__(self, hello: propeller_pb2.Hello, acknowledges: bool) -> None:
        self.hello = hello
        self.acknowledges = acknowledges
        self.reports: list[executor_pb2.Report] = []
        self.heartbeats: list[propeller_pb2.Heartbeat] = []
        self.draining = False
        self.offer: executor_pb2.Resources = hello.offer if hello.HasField("offer") else hello.capacity
        self.messages = 0
        self.closed = asyncio.Event()
        self._known: set[bytes] = set()
        self._outgoing: asyncio.Queue[propeller_pb2.LeaderMessage | None] = asyncio.Queue()
        self._changed = asyncio.Condition()

    # ------------------------------------------------------------------------------------------------------ to do

    def assign(self, *assigned: tuple[executor_pb2.Assign, tasks_pb2.TaskTemplate]) -> None:
        """Sends assignments in one message, with the specs that were not sent before."""
        message = propeller_pb2.LeaderMessage()
        for assign, template in assigned:
            data = template.SerializeToString()
            assign.spec_digest = hashlib.sha256(data).digest()
            if assign.spec_digest not in self._known:
                self._known.add(assign.spec_digest)
                message.specs.add(digest=assign.spec_digest, task_template=data)
            message.assigns.append(assign)
        self.send(message)

    def demand(self, cores: float, count: int) -> None:
        """Says that so many wait, each for so many cores."""
        each = executor_pb2.Resources(cpu_millis=round(cores * 1000))
        self.send(propeller_pb2.LeaderMessage(demand=propeller_pb2.Demand(each=each, count=count)))

    def stop(self, id: executor_pb2.AttemptId, reason: str = "because") -> None:
        self.send(propeller_pb2.LeaderMessage(stops=[executor_pb2.Stop(id=id, reason=reason)]))

    def acknowledge(self, report: executor_pb2.Report) -> None:
        self.send(propeller_pb2.LeaderMessage(acks=[executor_pb2.Ack(id=report.id, seq=report.seq)]))

    def send(self, message: propeller_pb2.LeaderMessage) -> None:
        self._outgoing.put_nowait(message)

    def close(self) -> None:
        """Ends the session from this side."""
        self._outgoing.put_nowait(None)

    # ------------------------------------------------------------------------------------------------------ to see

    def of(self, id: executor_pb2.AttemptId) -> list[executor_pb2.Report]:
        """The reports about one attempt, in order."""
        return [report for report in self.reports if key(report.id) == key(id)]

    def phases(self, id: executor_pb2.AttemptId) -> list[str]:
        """In the order of the reports; one that came again counts once, as with a leader."""
        numbered = dict.fromkeys((report.seq, report.phase) for report in self.of(id))
        return [executor_pb2.Report.Phase.Name(phase).removeprefix("PHASE_") for _, phase in numbered]

    async def report(self, id: executor_pb2.AttemptId, phase: int) -> executor_pb2.Report:
        """The first report of the attempt in this phase."""
        return await self._first(lambda report: key(report.id) == key(id) and report.phase == phase, f"{id} in {phase}")

    async def running(self, id: executor_pb2.AttemptId) -> executor_pb2.Report:
        return await self.report(id, executor_pb2.Report.PHASE_RUNNING)

    async def ended(self, count: int) -> None:
        """Waits for the ends of so many attempts."""
        await self.until(lambda: len({key(each.id) for each in self.reports if each.phase in FINAL}) >= count, "ends")

    async def final(self, id: executor_pb2.AttemptId) -> executor_pb2.Report:
        return await self._first(lambda report: key(report.id) == key(id) and report.phase in FINAL, f"end of {id}")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until something that arrives makes `condition` true."""
        async with self._changed:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._changed.wait_for(condition)
            except TimeoutError:
                raise AssertionError(f"not in time: {what}; reports: {self.reports}") from None

    async def _first(self, wanted: Callable[[executor_pb2.Report], bool], what: str) -> executor_pb2.Report:
        await self.until(lambda: any(map(wanted, self.reports)), what)
        return next(filter(wanted, self.reports))

    # ------------------------------------------------------------------------------------------------- the two ends

    async def take(self, message: propeller_pb2.ExecutorMessage) -> None:
        async with self._changed:
            self.messages += 1
            self.reports.extend(message.reports)
            self.draining |= message.draining
            if message.HasField("offer"):
                self.offer = message.offer
            if message.HasField("heartbeat"):
                self.heartbeats.append(message.heartbeat)
            self._changed.notify_all()
        if self.acknowledges:
            for report in message.reports:
                self.acknowledge(report)

    async def give(self) -> AsyncIterator[propeller_pb2.LeaderMessage]:
        while (message := await self._outgoing.get()) is not None:
            yield message


@dataclass
class Leader:
    """The server. Fields may be changed while it runs; they hold for the next session."""

    shard: int = 0
    epoch: int = 1
    heartbeat_seconds: float = 0.2
    acknowledges: bool = True
    refers_to: str | None = None
    """When set, this replica does not lead, and says that this address does (empty: nobody)."""
    others: list[Leader] = field(default_factory=list)
    """Those who lead the other shards, in order, this one left out."""

    address: str = ""
    hellos: list[propeller_pb2.Hello] = field(default_factory=list)
    open_sessions: int = 0
    most_open_sessions: int = 0

    def __post_init__(self) -> None:
        self._sessions: asyncio.Queue[ExecutorSession] = asyncio.Queue()
        self._server: servers.Server | None = None
        self._all: list[ExecutorSession] = []

    async def start(self, listen: str = "127.0.0.1:0") -> Leader:
        def register(server: grpc.aio.Server) -> None:
            propeller_pb2_grpc.add_PropellerServicer_to_server(_Servicer(self), server)

        self._server = servers.build(listen, services={"airscrew.propeller.v1.Propeller": register})
        self.address = await self._server.start()
        return self

    async def stop(self) -> None:
        if self._server is not None:
            for session in self._all:
                session.close()
            await self._server.stop(0.5)
            self._server = None

    async def session(self) -> ExecutorSession:
        """The next session that was welcomed."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._sessions.get()

    async def serve(self, requests: Any, context: Any) -> AsyncIterator[propeller_pb2.LeaderMessage]:
        if ("authorization", f"Bearer {TOKEN}") not in {tuple(pair) for pair in context.invocation_metadata()}:
            raise errors.Unauthenticated("authorization: no valid session token")
        incoming = aiter(requests)
        hello = (await anext(incoming)).hello
        self.hellos.append(hello)
        if self.refers_to is not None or hello.shard != self.shard:
            own = self.address if self.refers_to is None else self.refers_to
            leaders = [
                propeller_pb2.NotLeader.Leader(shard=self.shard, address=own, epoch=self.epoch),
                *(
                    propeller_pb2.NotLeader.Leader(shard=other.shard, address=other.address, epoch=other.epoch)
                    for other in self.others
                ),
            ]
            leaders.sort(key=lambda each: each.shard)
            yield propeller_pb2.LeaderMessage(not_leader=propeller_pb2.NotLeader(leaders=leaders))
            return
        yield propeller_pb2.LeaderMessage(
            welcome=propeller_pb2.Welcome(
                shard=self.shard,
                epoch=self.epoch,
                heartbeat_us=int(self.heartbeat_seconds * 1_000_000),
                grace_us=15_000_000,
                shards=1 + len(self.others),
            )
        )
        async for message in self._converse(ExecutorSession(hello, self.acknowledges), incoming):
            yield message

    async def _converse(
        self, session: ExecutorSession, incoming: AsyncIterator[propeller_pb2.ExecutorMessage]
    ) -> AsyncIterator[propeller_pb2.LeaderMessage]:
        self.open_sessions += 1
        self.most_open_sessions = max(self.most_open_sessions, self.open_sessions)
        self._all.append(session)
        self._sessions.put_nowait(session)
        listening = asyncio.create_task(self._listen(session, incoming), name="leader listens")
        try:
            async for message in session.give():
                yield message
        finally:
            self.open_sessions -= 1
            session.closed.set()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, session: ExecutorSession, incoming: AsyncIterator[propeller_pb2.ExecutorMessage]) -> None:
        async for message in incoming:
            await session.take(message)
        session.close()


class _Servicer(propeller_pb2_grpc.PropellerServicer):
    def __init__(self, leader: Leader) -> None:
        self._leader = leader

    async def Session(self, requests: Any, context: Any) -> AsyncIterator[propeller_pb2.LeaderMessage]:
        async for message in self._leader.serve(requests, context):
            yield message

    async def Status(self, request: Any, context: Any) -> propeller_pb2.StatusReply:
        return propeller_pb2.StatusReply(leading=self._leader.refers_to is None)

    async def Drain(self, request: propeller_pb2.DrainRequest, context: Any) -> propeller_pb2.DrainReply:
        raise NotImplementedError

    def Follow(self, request: Any, context: Any) -> AsyncIterator[propeller_pb2.FollowReply]:
        raise NotImplementedError

    async def Collection(self, request: Any, context: Any) -> propeller_pb2.CollectionReply:
        raise NotImplementedError

    async def PreviewCollection(self, request: Any, context: Any) -> propeller_pb2.PreviewCollectionReply:
        raise NotImplementedError

    async def Die(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


class Assignments:
    """Makes assignments of one execution whose files lie below `root`, each with a node of its own."""

    def __init__(self, root: str, execution: int = 1) -> None:
        self.root = root
        self.execution = execution
        self._counts: dict[str, int] = defaultdict(int)

    def of(
        self,
        template: tasks_pb2.TaskTemplate,
        inputs: dict[str, literals_pb2.Literal] | None = None,
        *,
        node: str = "",
        attempt: int = 0,
        **fields: Any,
    ) -> tuple[executor_pb2.Assign, tasks_pb2.TaskTemplate]:
        """An assignment with its template, as `ExecutorSession.assign` takes it; `fields` are those of Assign."""
        self._counts["nodes"] += 1
        node = node or f"n{self._counts['nodes']}"
        data = literals_pb2.LiteralMap(literals=inputs or {}).SerializeToString()
        base = f"{self.root}/metadata/propeller/flytesnacks-development-ex{self.execution}/{node}/data"
        values: dict[str, Any] = {
            "id": executor_pb2.AttemptId(execution=self.execution, node=node, attempt=attempt),
            "inputs": executor_pb2.Data(inline=data, size=len(data)),
            "resources": executor_pb2.Resources(cpu_millis=100, memory_bytes=1 << 20),
            "project": "flytesnacks",
            "domain": "development",
            "name": f"ex{self.execution}",
            "workflow": "flytesnacks:development:wf",
            "launch_plan": "flytesnacks:development:lp",
            "output_prefix": f"{base}/{attempt}",
            "raw_output_prefix": f"{self.root}/raw/ex{self.execution}/{node}/{attempt}",
            "log_uri": f"{self.root}/logs/ex{self.execution}/{node}/{attempt}.log",
            "inline_limit": 16 << 10,
        }
        return executor_pb2.Assign(**(values | fields)), template
