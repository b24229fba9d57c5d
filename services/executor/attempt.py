"""One attempt, of whatever kind: what it reports, how it is told to end, which spans it leaves.

What is done between the first report and the last is the kind's: a process of its own (`taskprocess`), or an answer
that the executor gives itself (`echo`).

A wish to end it (the leader's stop, the time allowed, the executor's own end) carries the outcome that it then has.
It counts only while nothing has come out: a result that is there is reported, however late the wish came.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from flyteidl.core import literals_pb2, tasks_pb2
from google.protobuf.message import DecodeError

from libs.runtime.clock import Clock
from libs.telemetry import logs, traces
from libs.wire.session import Assignment, Report, ReportPhase
from libs.workflow import errors
from libs.workflow.identity import AttemptId
from services.executor import datadir, environments, outcome, processes, results, runner, tasksecrets, variables
from services.executor.journal import Journal
from services.executor.keeping import KeptProcesses
from services.executor.outcome import Outcome
from services.executor.settings import ExecutorSettings
from services.executor.slots import Grant
from services.executor.zygotes import Zygotes


class Left(Exception):
    """The attempt goes on without this executor, whose next life goes on with it. Nothing is reported."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """What every attempt works with."""

    settings: ExecutorSettings
    clock: Clock
    tracing: traces.Tracing
    storage: results.Storage
    processes: runner.ProcessRunner
    environments: environments.Environments
    platform: variables.Platform
    secrets: tasksecrets.SecretSource
    directory: datadir.DataDir
    journal: Journal
    zygotes: Zygotes | None = None
    """Warm processes; None: every task starts cold."""
    kept: KeptProcesses | None = None
    """Those that run many tasks; None as well, then."""


Over: TypeAlias = "Callable[[Attempt, Outcome | None], None]"
"""Is told that nothing of an attempt runs any more, and its outcome; None: `run` finds that out."""


class Attempt(ABC):
    """Runs once. `say` gets its reports, except the final one, which is made by `final`."""

    def __init__(
        self,
        bench: Workbench,
        assignment: Assignment,
        template: tasks_pb2.TaskTemplate,
        grant: Grant,
        say: Callable[[Report], None],
    ) -> None:
        self._bench = bench
        self._assignment = assignment
        self._template = template
        self.grant = grant
        self._say = say
        self.trace = traces.TraceContext.parse(assignment.traceparent)
        """The attempt's own span; None when nobody traces it."""
        self._ended = False
        self._wish: Outcome | None = None
        self._wished = asyncio.Event()
        self._started_us = 0
        self.stage = ""
        """How far its pod is, in lower case (`pods.observe.Stage`); empty for what is none."""
        self.shard = assignment.shard
        """Whose leader has assigned it and gets its reports."""
        self.latest = Report(assignment.id, 1, ReportPhase.INITIALIZING, bench.clock.now_us(), shard=self.shard)
        """The last report: where a snapshot says that this attempt stands."""

    @property
    def id(self) -> AttemptId:
        return self._assignment.id

    def stop(self, wish: Outcome) -> None:
        """Ends the attempt with outcome `wish`, unless it has a result already. The first wish counts."""
        if self._wish is not None or self._ended:
            return
        self._wish = wish
        self._wished.set()
        self._obey_wish()

    def leave(self) -> bool:
        """Whether what runs can go on without this executor, and now does: `run` raises Left, unless it has ended."""
        return False

    def begin(self, over: Over) -> bool:
        """Starts it at once, if nothing has to be waited for. Whether it has: else `run` does everything."""
        return False

    async def run(self) -> Outcome:
        """Everything from the first report to the outcome. When it returns, nothing of the attempt runs."""
        self._say(self.latest)
        return await self._work()

    @abstractmethod
    async def _work(self) -> Outcome:
        """What there is to do. `_begun` is called when it starts in earnest."""

    @abstractmethod
    def _obey_wish(self) -> None:
        """Starts to end what runs. `_wished` is set already."""

    async def abandon(self) -> None:
        """After a mistake of ours: ends whatever runs, so that its slots are free."""
        await processes.end_all(self._bench.directory.scratch(self.id))

    @property
    def leaves_files(self) -> bool:
        """Whether there is anything to clean up."""
        return True

    @abstractmethod
    async def clean_up(self) -> None:
        """Removes what only this attempt has used, after its end was reported."""

    def final(self, end: Outcome) -> Report:
        """The attempt's last report."""
        self.latest = Report(
            id=self.id,
            seq=self.latest.seq + 1,
            phase=end.phase,
            at_us=self._bench.clock.now_us(),
            outputs=end.outputs,
            error=end.error,
            recoverable=end.recoverable,
            reason=end.reason,
            deck_uri=end.deck_uri,
            dynamic=end.dynamic,
            started_us=self._started_us,
            shard=self.shard,
        )
        return self.latest

    # --------------------------------------------------------------------------------------------- for every kind

    def _begun(self, started_us: int) -> asyncio.TimerHandle | None:
        """Reports RUNNING. The alarm that goes off when its time is up, if it is limited, is the caller's to cancel."""
        self._started_us = started_us
        self.latest = Report(
            self.id, self.latest.seq + 1, ReportPhase.RUNNING, started_us, started_us=started_us, shard=self.shard
        )
        self._say(self.latest)
        allowed_us = self._assignment.time_allowed_us
        if not allowed_us:
            return None
        wish = outcome.timed_out(allowed_us)
        left_us = max(started_us + allowed_us - self._bench.clock.now_us(), 0)
        return asyncio.get_running_loop().call_later(left_us / 1_000_000, self.stop, wish)

    async def _inputs(self) -> dict[str, literals_pb2.Literal]:
        inputs = self._assignment.inputs
        data = inputs.inline
        if data is None:
            data = await self._bench.storage.read(inputs.uri or "", self._bench.settings.output_limit_bytes)
        try:
            return dict(literals_pb2.LiteralMap.FromString(data).literals)
        except DecodeError as error:
            raise errors.Internal(f"the inputs {inputs.uri or '(inline)'} cannot be read: {error}") from error

    @contextmanager
    def _span(self, name: str) -> Iterator[None]:
        began_us = self._bench.clock.now_us()
        problem: str | None = None
        try:
            yield
        except Exception as error:
            problem = str(error)
            raise
        finally:
            self._tell_span(name, began_us, problem)

    def _tell_span(self, name: str, began_us: int, problem: str | None = None) -> None:
        """That something has taken until now."""
        if self.trace is not None:
            self._bench.tracing.emit(
                name,
                self.trace.child(name),
                self.trace.span_id,
                began_us,
                self._bench.clock.now_us(),
                self._attributes(),
                problem,
            )

    def logged(self) -> AbstractContextManager[None]:
        """What is logged in it is about this attempt."""
        assignment, trace = self._assignment, self.trace
        return logs.bind(
            execution=f"{assignment.project}:{assignment.domain}:{assignment.name}",
            node=self.id.node,
            attempt=self.id.attempt,
            trace_id=None if trace is None else trace.trace_id,
            span_id=None if trace is None else trace.span_id,
        )

    def _attributes(self) -> dict[str, traces.Attribute]:
        assignment = self._assignment
        return {
            "flyte.execution.id": f"{assignment.project}:{assignment.domain}:{assignment.name}",
            "flyte.node.id": self.id.node,
            "flyte.attempt": self.id.attempt,
            "flyte.interruptible": assignment.interruptible,
        }
