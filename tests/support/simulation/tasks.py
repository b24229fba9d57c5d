"""The tasks of users: they take their time, and end as their fate has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from flyteidl.core import literals_pb2, tasks_pb2

from libs.blob import layout
from libs.runtime import together
from libs.wire.session import NO_INDEX, Ack, ReportPhase
from libs.workflow import errors
from libs.workflow.phases import ErrorKind
from libs.workflow.state import Data
from services.executor import outcome
from services.executor.attempt import Attempt
from services.executor.outcome import Outcome
from services.executor.spool import Spool
from tests.support.graphs import DYNAMIC, computed
from tests.support.simulation.loop import Process
from tests.support.simulation.plans import asked_for, fate

if TYPE_CHECKING:
    from tests.support.simulation.world import World


class Tasks:
    """What an executor's workbench has in place of a way to run processes."""

    def __init__(self, world: World, process: Process) -> None:
        self.world = world
        self.process = process

    def seconds(self) -> float:
        """How long a task takes: usually not long."""
        dice = self.world.dice
        return dice.random() * dice.choice([0.2, 0.2, 2.0, 8.0])

    def outcome(self, execution: int, node: str) -> str:
        """How the present attempt ends."""
        path = self.world.path_of(execution)
        chosen = fate(self.world.fate_seed(self.world.root_of(execution)), f"{path}{node}")
        if not chosen.isdigit():
            return chosen
        rows = self.world.store.nodes[execution]
        failures = rows[node].user_failures if node in rows else 0
        return "recoverable" if failures < int(chosen) else "succeed"


class SimulatedAttempt(Attempt):
    """An attempt without a process."""

    async def _work(self) -> Outcome:
        tasks = cast(Tasks, self._bench.processes)
        try:
            return await together.unless(self._wished, "task", self._run(tasks))
        except together.Interrupted:
            return self._wish or outcome.aborted("")
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)
        finally:
            self._ended = True
            if not tasks.process.dead:
                tasks.world.checker.ended(tasks.process.name, self.id)

    async def _run(self, tasks: Tasks) -> Outcome:
        await asyncio.sleep(tasks.world.dice.random() * 0.05)
        if tasks.process.dead:
            raise asyncio.CancelledError
        tasks.world.note(f"{tasks.process} starts {self.id}")
        tasks.world.checker.started(tasks.process.name, self.id, self.grant)
        self._bench.journal.started(self.id, None)
        self._begun(self._bench.clock.now_us())
        await asyncio.sleep(tasks.seconds())
        return await self._result(tasks.outcome(self.id.execution, self.id.node), tasks)

    async def _result(self, became: str, tasks: Tasks) -> Outcome:
        if became != "succeed":
            return _failed(f"{self.id.node} has failed", recoverable=became == "recoverable")
        inputs = literals_pb2.LiteralMap(literals=self._own(await self._inputs()))
        name = self._template.id.name
        prefix = self._assignment.output_prefix.rstrip("/")
        if name.startswith(DYNAMIC):
            chain = tasks.world.plans[name.removeprefix(DYNAMIC)]
            given = computed(inputs).literals["o"].scalar.primitive.integer - 1
            data = asked_for(chain, given).SerializeToString()
            await self._bench.storage.write(f"{prefix}/{layout.FUTURES}", data)
            plan = Data.at(f"{prefix}/{layout.FUTURES}", len(data))
            return Outcome(ReportPhase.SUCCEEDED, outputs=plan, dynamic=True)
        outputs = computed(inputs).SerializeToString()
        if tasks.world.dice.random() < 0.8:
            return Outcome(ReportPhase.SUCCEEDED, outputs=Data.of(outputs))
        uri = f"{prefix}/{layout.OUTPUTS}"
        await self._bench.storage.write(uri, outputs)
        return Outcome(ReportPhase.SUCCEEDED, outputs=Data.at(uri, len(outputs)))

    def _own(self, inputs: dict[str, literals_pb2.Literal]) -> dict[str, literals_pb2.Literal]:
        """An item that shares the inputs of its array takes its elements of them."""
        index = self._assignment.array_index
        if index == NO_INDEX:
            return inputs
        return {
            name: literal if name == "y" else literal.collection.literals[index] for name, literal in inputs.items()
        }

    def _obey_wish(self) -> None:
        """The wish itself ends the task."""

    async def clean_up(self) -> None:
        """There is nothing."""


def _failed(message: str, *, recoverable: bool) -> Outcome:
    return outcome.failed(ErrorKind.USER, "Oops", message, recoverable=recoverable)


class WatchedSpool(Spool):
    """Tells the checker what is acknowledged."""

    def __init__(self, tasks: Tasks, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._tasks = tasks

    def acknowledge(self, ack: Ack) -> bool:
        done = super().acknowledge(ack)
        if done and not self._tasks.process.dead:
            self._tasks.world.checker.acknowledged(self._tasks.process.name, ack)
        return done


def kind_of(_template: tasks_pb2.TaskTemplate) -> type[Attempt]:
    """Every task is simulated."""
    return SimulatedAttempt
