"""One attempt, from its assignment to its outcome, in three named phases:

    prepare   private directories, inputs.pb, command line, environment
    process   the task process runs; INITIALIZING ends and RUNNING begins with its start
    finish    its files are read and judged

Each phase is a span below the attempt's own, which the propeller emits. The task process is told the `process` span
as its parent (`TRACEPARENT`).

A wish to end it (the leader's stop, the time allowed, the executor's own end) carries the outcome that it then has.
It counts only while the process has not ended: a result that is there is reported, however late the wish came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flyteidl.core import literals_pb2, tasks_pb2
from google.protobuf.message import DecodeError

from libs.runtime import together
from libs.runtime.clock import Clock
from libs.telemetry import traces
from libs.wire.session import Assignment, Report, ReportPhase
from libs.workflow import errors, quantities
from libs.workflow.identity import AttemptId
from libs.workflow.phases import ErrorKind
from services.executor import commandline, datadir, environments, outcome, results, runner, templates, variables
from services.executor.journal import Journal
from services.executor.outcome import Outcome
from services.executor.settings import ExecutorSettings
from services.executor.slots import Grant
from services.executor.tasklog import TaskLog

logger = logging.getLogger(__name__)


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
    directory: datadir.DataDir
    journal: Journal


class Attempt:
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
        self._scratch = bench.directory.scratch(assignment.id)
        self._log = TaskLog(
            bench.storage, assignment.log_uri, bench.directory.log(assignment.id), bench.settings.log_upload_seconds
        )
        self.trace = traces.TraceContext.parse(assignment.traceparent)
        """The attempt's own span; None when nobody traces it."""
        self._running: runner.Running | None = None
        self._ended = False
        self._wish: Outcome | None = None
        self._wished = asyncio.Event()
        self._started_us = 0
        self.latest = Report(assignment.id, 1, ReportPhase.INITIALIZING, bench.clock.now_us())
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
        if self._running is not None:
            self._running.stop()

    async def run(self) -> Outcome:
        """Everything from preparing to judging. When it returns, no process of the attempt is left."""
        self._say(self.latest)
        try:
            with self._span("prepare"):
                launch = await together.unless(self._wished, "prepare attempt", self._prepare())
        except together.Interrupted:
            return self._wish or outcome.aborted("")
        except errors.InvalidArgument as error:
            return outcome.failed(ErrorKind.USER, "FailedToBuildResource", error.message, recoverable=False)
        except errors.FailedPrecondition as error:
            return outcome.system("ExecutorMisconfigured", error.message)
        except errors.AirscrewError as error:
            return outcome.system("PreparationFailed", error.message)
        try:
            with self._span("process"):
                ended = await self._process(launch)
        except errors.Unavailable as error:
            return outcome.system("ProcessNotStarted", error.message)
        with self._span("finish"):
            return await self._finish(ended)

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
        )
        return self.latest

    async def clean_up(self) -> None:
        """Removes the private directories."""
        await asyncio.to_thread(datadir.remove, self._scratch)

    # ------------------------------------------------------------------------------------------------------- prepare

    async def _prepare(self) -> runner.Launch:
        settings, assignment = self._bench.settings, self._assignment
        environment = self._bench.environments.of(assignment.container_image)
        command = commandline.of_template(self._template)
        await asyncio.to_thread(self._make_directories)
        words = await self._render(command.words, await self._place_inputs())
        place = variables.Place(
            commands=environment.commands,
            home=self._scratch / "home",
            temporary=self._scratch / "tmp",
            devices=self.grant.devices,
            traceparent="" if self.trace is None else self.trace.child("process").traceparent(),
        )
        launch = runner.Launch(
            command=commandline.with_private_code(words, self._scratch / "work"),
            environment=variables.of_attempt(self._bench.platform, place, assignment, self._template.id, command.env),
            directory=self._scratch,
            working_directory=self._scratch / "work",
            log=self._log.path,
            log_limit_bytes=settings.log_limit_bytes,
            memory_limit_bytes=_memory_limit(self._template),
            kill_grace_seconds=settings.kill_grace_seconds,
            uid=settings.task_uid,
            gid=settings.task_gid,
        )
        _require_command(launch, environment)
        await self._log.open()
        return launch

    def _make_directories(self) -> None:
        datadir.make_scratch(self._scratch, self._bench.settings.task_uid, self._bench.settings.task_gid)

    async def _place_inputs(self) -> str:
        """Where the inputs lie; written there first when they came inline."""
        inputs = self._assignment.inputs
        if inputs.inline is None:
            return inputs.uri or self._assignment.inputs_uri
        await self._bench.storage.write(self._assignment.inputs_uri, inputs.inline)
        return self._assignment.inputs_uri

    async def _render(self, words: tuple[str, ...], inputs_uri: str) -> tuple[str, ...]:
        assignment = self._assignment
        folder = inputs_uri.rpartition("/")[0]
        template_uri = f"{folder}/task.pb"
        if templates.mentions(words, "taskTemplatePath"):
            await self._bench.storage.write(template_uri, self._template.SerializeToString())
        inputs = await self._read_inputs(inputs_uri) if templates.mentions_inputs(words) else {}
        known = {
            "input": inputs_uri,
            "inputprefix": folder,
            "outputprefix": assignment.output_prefix,
            "rawoutputdataprefix": assignment.raw_output_prefix,
            "checkpointoutputprefix": f"{assignment.raw_output_prefix.rstrip('/')}/_flytecheckpoints",
            "prevcheckpointprefix": assignment.previous_checkpoint or templates.NO_CHECKPOINT,
            "tasktemplatepath": template_uri,
            "perretryuniquekey": templates.unique_key(assignment.name, self.id.node, self.id.attempt),
        }
        return templates.render(words, known, inputs)

    async def _read_inputs(self, inputs_uri: str) -> dict[str, literals_pb2.Literal]:
        data = self._assignment.inputs.inline
        if data is None:
            data = await self._bench.storage.read(inputs_uri, self._bench.settings.output_limit_bytes)
        try:
            return dict(literals_pb2.LiteralMap.FromString(data).literals)
        except DecodeError as error:
            raise errors.Internal(f"{inputs_uri} cannot be read: {error}") from error

    # ------------------------------------------------------------------------------------------------------- process

    async def _process(self, launch: runner.Launch) -> runner.Exit:
        self._running = running = await self._bench.processes.start(launch)
        self._bench.journal.started(self.id, running.process)
        self._started_us = running.started_us
        self.latest = Report(
            self.id, self.latest.seq + 1, ReportPhase.RUNNING, running.started_us, started_us=running.started_us
        )
        self._say(self.latest)
        if self._wish is not None:
            running.stop()  # wished while it was being started
        following = asyncio.create_task(self._log.follow(), name="upload log")
        alarm = self._alarm()
        try:
            return await running.wait()
        finally:
            self._ended = True
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            if alarm is not None:
                alarm.cancel()

    def _alarm(self) -> asyncio.TimerHandle | None:
        allowed_us = self._assignment.time_allowed_us
        if not allowed_us:
            return None
        wish = outcome.timed_out(allowed_us)
        return asyncio.get_running_loop().call_later(allowed_us / 1_000_000, self.stop, wish)

    # -------------------------------------------------------------------------------------------------------- finish

    async def _finish(self, ended: runner.Exit) -> Outcome:
        tail = await asyncio.to_thread(self._log.tail)
        closing = asyncio.create_task(self._log.close(), name="upload log")
        try:
            return self._wish or await self._judge(ended, tail)
        finally:
            await closing

    async def _judge(self, ended: runner.Exit, tail: str) -> Outcome:
        assignment, settings = self._assignment, self._bench.settings
        try:
            files = await results.collect(
                self._bench.storage, assignment.output_prefix, assignment.inline_limit, settings.output_limit_bytes
            )
        except errors.Unavailable as error:
            return outcome.system("OutputsNotRead", error.message)
        return outcome.of_ended_process(ended, files, bool(self._template.interface.outputs.variables), tail)

    # --------------------------------------------------------------------------------------------------------- spans

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

    def _attributes(self) -> dict[str, traces.Attribute]:
        assignment = self._assignment
        return {
            "flyte.execution.id": f"{assignment.project}:{assignment.domain}:{assignment.name}",
            "flyte.node.id": self.id.node,
            "flyte.attempt": self.id.attempt,
        }


def _memory_limit(template: tasks_pb2.TaskTemplate) -> int:
    """The memory limit that the task sets for itself, in bytes; 0 when it sets none."""
    for entry in template.container.resources.limits:
        if entry.name == tasks_pb2.Resources.MEMORY:
            return int(quantities.parse_quantity(entry.value, "container.resources.limits.MEMORY"))
    return 0


def _require_command(launch: runner.Launch, environment: environments.Environment) -> None:
    command = launch.command[0]
    if runner.find_command(command, launch.environment, launch.working_directory):
        return
    if command.startswith("pyflyte-"):
        raise errors.FailedPrecondition(f"{environment} has no {command}: is flytekit installed in it?")
    raise errors.InvalidArgument(f"container: command {command!r} is not found in {environment}")
