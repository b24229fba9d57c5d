"""A queue service, propellers and executors in the test's own event loop, over real gRPC, a real etcd and a real
database.

Only the task processes are not real: `Instant` ends every command at once, or when the test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flyteidl.core import literals_pb2, tasks_pb2, workflow_pb2
from sqlalchemy import text

from libs.blob import layout
from libs.clients.queue import Enqueuer, Key, Reason
from libs.runtime.clock import SystemClock
from libs.runtime.process import Life
from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.records import ExecutionRecord, LaunchPlanRecord, WorkflowRecord
from libs.store.registry import Registry
from libs.store.signals import Signals
from libs.telemetry.metrics import Metering
from libs.telemetry.traces import Tracing
from libs.workflow.errors import NotFound
from libs.workflow.identity import shard_of
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import ExecutionState
from services.executor import app as executor_app
from services.executor.processes import ProcessId
from services.executor.runner import Exit, Launch
from services.executor.settings import ExecutorSettings
from services.propeller import app as propeller_app
from services.propeller.settings import PropellerSettings
from services.queue import app as queue_app
from services.queue.settings import QueueSettings
from services.standalone import ports
from tests.support import kinds
from tests.support.graphs import Plan, closure_of, state_of

TOKEN = "a-token-of-the-tests"


def free_address() -> str:
    """An address on which nobody listens now."""
    return f"{ports.LOOPBACK}:{ports.free(set())}"


class InstantProcess:
    """A command that has been started: it ends when `ending` is set."""

    def __init__(self, started_us: int, ending: asyncio.Event) -> None:
        self.started_us = started_us
        self.process: ProcessId | None = None
        self._ending = ending
        self._stopped = False

    async def wait(self) -> Exit:
        await self._ending.wait()
        return Exit(signal=15) if self._stopped else Exit(code=0)

    def stop(self) -> None:
        self._stopped = True
        self._ending.set()


@dataclass
class Instant:
    """Runs commands by writing the files that they would have written: those of a behaviour in `kinds`, or a 1.

    `hold` keeps those that start from ending, `held_back` those of some behaviours only.
    """

    starts: list[str] = field(default_factory=list)
    held: list[asyncio.Event] = field(default_factory=list)
    hold: bool = False
    held_back: frozenset[str] = frozenset()

    async def start(self, launch: Launch) -> InstantProcess:
        prefix = Path(launch.command[-1])
        self.starts.append(str(prefix))
        prefix.mkdir(parents=True, exist_ok=True)
        behaviour = launch.command[-3] if len(launch.command) > 3 else ""
        for name, content in _files(launch, behaviour).items():
            (prefix / name).write_bytes(content)
        ending = asyncio.Event()
        if self.hold or behaviour in self.held_back:
            self.held.append(ending)
        else:
            ending.set()
        return InstantProcess(SystemClock().now_us(), ending)

    def release(self) -> None:
        """Lets everything end, and whatever starts from now on."""
        self.hold, self.held_back = False, frozenset()
        for ending in self.held:
            ending.set()


def _files(launch: Launch, behaviour: str) -> kinds.Files:
    if behaviour:
        inputs = literals_pb2.LiteralMap.FromString(Path(launch.command[-2]).read_bytes())
        return kinds.act(behaviour, inputs, {**launch.environment, kinds.PREFIX: launch.command[-1]})
    outputs = literals_pb2.LiteralMap()
    outputs.literals["o"].scalar.primitive.integer = 1
    return {layout.OUTPUTS: outputs.SerializeToString()}


@dataclass
class Service:
    """A running service."""

    life: Life
    serving: asyncio.Task[None]

    async def stop(self) -> None:
        """In order, as SIGTERM would."""
        self.life.stopping.set()
        await self.serving
        self.life.cancel_tasks()


class Fleet:
    """Services of one installation. Use as an async context manager; leaving stops all of them."""

    def __init__(self, tmp_path: Path, database: str, etcd: str, shards: int = 1) -> None:
        self._shards = shards
        self._tmp_path = tmp_path
        self.database = database
        self._etcd = etcd
        self.queue_address = free_address()
        self.propellers: list[str] = []
        self.services: list[Service] = []
        self.blob = tmp_path / "blob"
        self._group = asyncio.TaskGroup()
        self._engine = open_async(database)
        self.executions = Executions(self._engine)
        self.registry = Registry(self._engine)

    async def __aenter__(self) -> Fleet:
        self.blob.mkdir(exist_ok=True)
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        for service in reversed(self.services):
            if not service.serving.done():
                await service.stop()
        await self.executions.close()
        await self._engine.dispose()
        await self._group.__aexit__(*failure)

    def start(self, name: str, serve: Callable[[Life], Any], metering: Metering | None = None) -> Service:
        """Starts a service in a life of its own."""
        life = Life(self._group, SystemClock(), Tracing(), metering)
        service = Service(life, self._group.create_task(serve(life), name=name))
        self.services.append(service)
        return service

    def queue(self) -> Service:
        settings = QueueSettings(listen=self.queue_address)
        return self.start("queue", lambda life: queue_app.serve(settings, life))

    def propeller(
        self, open_ledger: Callable[[], Any] | None = None, metering: Metering | None = None, **more: Any
    ) -> Service:
        settings = self.propeller_settings(**more)
        return self.start(
            "propeller", lambda life: propeller_app.serve(settings, life, open_ledger=open_ledger), metering
        )

    def propeller_settings(self, **more: Any) -> PropellerSettings:
        """Of one more replica."""
        address = free_address()
        self.propellers.append(address)
        fields: dict[str, Any] = {
            "listen": address,
            "database": self.database,
            "blob": str(self.blob),
            "etcd": (self._etcd,),
            "session_token": TOKEN,
            "queue": self.queue_address,
            "lease_ttl_seconds": 2,
            "executor_grace_seconds": 3.0,
            "heartbeat_seconds": 0.5,
            "identity": f"propeller-{len(self.propellers)}",
            "shards": self._shards,
        }
        return PropellerSettings(**(fields | more))

    def executor(self, processes: Instant, name: str = "e1", **more: Any) -> Service:
        environment = self._tmp_path / "environment"
        (environment / "bin").mkdir(parents=True, exist_ok=True)
        for command in ("python", "pyflyte-execute"):
            path = environment / "bin" / command
            path.write_text("#!/bin/sh\n")
            path.chmod(0o755)
        fields: dict[str, Any] = {
            "propellers": tuple(self.propellers),
            "session_token": TOKEN,
            "blob": str(self.blob),
            "data_dir": self._tmp_path / name,
            "id": name,
            "cpu_millis": 64_000,
            "memory_bytes": 64 << 30,
            "gpus": (),
            "task_environments": {"*": str(environment)},
            "disk_floor_bytes": 0,
            "shutdown_grace_seconds": 0.2,
            "flush_seconds": 1.0,
        }
        settings = ExecutorSettings(**(fields | more))
        return self.start(name, lambda life: executor_app.serve(settings, life, processes=processes))

    async def register(self, plan: Plan) -> None:
        """Makes the workflow of a plan known."""
        closure = closure_of(plan)
        for task in closure.tasks:
            task.template.container.args.extend(["pyflyte-execute", "{{.outputPrefix}}"])
        record = WorkflowRecord(state_of(plan).workflow, b"digest", b"", closure.SerializeToString(), 1)
        await self.registry.create_workflow(record)

    async def register_workflows(
        self,
        *workflows: workflow_pb2.WorkflowTemplate,
        change: Callable[[tasks_pb2.TaskTemplate], None] = lambda template: None,
    ) -> None:
        """Makes workflows over the tasks of `kinds` known, and them and their launch plans to those that follow."""
        launched: dict[str, LaunchPlanRecord] = {}
        for index, template in enumerate(workflows):
            closure = kinds.compiled(template, launched, change, workflows[:index])
            await self.registry.create_workflow(kinds.workflow_record(closure))
            launched[template.id.name] = kinds.launch_plan(template)
            await self.registry.create_launch_plan(launched[template.id.name])

    async def start_workflow(self, template: workflow_pb2.WorkflowTemplate, key: int, **inputs: int) -> None:
        """Accepts an execution as `admin` would."""
        await self.executions.create(kinds.submission(template, key, **inputs))
        async with Enqueuer(self.queue_address) as enqueuer:
            enqueuer.enqueue(Key(key, 0, "p", reasons=Reason.SUBMITTED))

    async def abort(self, key: int, cause: str, principal: str) -> None:
        """As `admin` would."""
        await self.executions.request_abort((await self.execution(key)).id, cause, principal)
        async with Enqueuer(self.queue_address) as enqueuer:
            enqueuer.enqueue(Key(key, 0, "p", reasons=Reason.INTENT))

    async def signal(self, key: int, signal_id: str, number: int) -> None:
        """As `admin` would, as soon as something waits for it."""
        literal = literals_pb2.Literal()
        literal.scalar.primitive.integer = number
        execution = (await self.execution(key)).id
        signals = Signals(self._engine)
        while True:
            with suppress(NotFound):
                await signals.set_signal(execution, signal_id, literal.SerializeToString(), "", 1)
                break
            await asyncio.sleep(0.02)
        async with Enqueuer(self.queue_address) as enqueuer:
            enqueuer.enqueue(Key(key, 0, "p", reasons=Reason.SIGNAL))

    async def execution(self, key: int) -> ExecutionState:
        return (await self.executions.get_by_key([key]))[0].execution

    async def child_of(self, key: int, node_id: str) -> int:
        """The key of the execution that a node has launched."""
        while True:
            with suppress(NotFound):
                child_key = (await self.executions.get_node(key, node_id)).child_key
                assert child_key is not None
                return child_key
            await asyncio.sleep(0.02)

    async def submit(self, plan: Plan, *keys: int, enqueue: bool = True) -> None:
        """Accepts executions as `admin` would."""
        await asyncio.gather(*(self.executions.create(self._record(plan, key)) for key in keys))
        if enqueue:
            async with Enqueuer(self.queue_address) as enqueuer:
                enqueuer.enqueue(*(Key(key, self._shard(key), "p", reasons=Reason.SUBMITTED) for key in keys))

    def _shard(self, key: int) -> int:
        return shard_of(key, self._shards)

    def _record(self, plan: Plan, key: int) -> ExecutionRecord:
        state = replace(state_of(plan, key=key), shard=self._shard(key))
        return ExecutionRecord(execution=state, resource_type=3, mode=0)

    async def led(self) -> None:
        """Waits until somebody leads: a replica that is started then is a standby."""
        async with asyncio.timeout(10.0):
            while True:
                async with self._engine.connect() as connection:
                    if await connection.scalar(text("SELECT count(*) FROM leadership WHERE epoch > 0")):
                        return
                await asyncio.sleep(0.02)

    async def phases(self, *keys: int) -> dict[int, ExecutionPhase]:
        return {record.execution.key: record.execution.phase for record in await self.executions.get_by_key(keys)}

    async def until(self, phase: ExecutionPhase, *keys: int, timeout_seconds: float = 30.0) -> None:
        """Waits until all executions are in a phase. Many are looked at less often, for looking costs as much as
        working.
        """
        async with asyncio.timeout(timeout_seconds):
            while set((await self.phases(*keys)).values()) != {phase}:
                await asyncio.sleep(0.02 + len(keys) / 1000)
