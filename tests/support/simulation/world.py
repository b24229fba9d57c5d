"""One simulation, from its seed to what was wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from flyteidl.core import literals_pb2

from libs.clients.queue import Reason
from libs.runtime import backoff
from libs.workflow.identity import shard_of
from libs.workflow.quantities import Slots
from services.propeller.shards import Shards
from tests.support.graphs import Plan, number, plans_below, state_of
from tests.support.memory_ledger import MemoryStore
from tests.support.oracle import answered, approved
from tests.support.simulation import services
from tests.support.simulation.checker import Checker
from tests.support.simulation.etcd import Etcd
from tests.support.simulation.faults import Chaos
from tests.support.simulation.loop import Process, VirtualLoop, world_task
from tests.support.simulation.machines import Bucket, Machine
from tests.support.simulation.mutations import NONE, Mutation
from tests.support.simulation.network import Network
from tests.support.simulation.plans import Planner, outcome_of, register

REST_SECONDS = 400.0
"""So long after the last fault everything must have ended."""

STOP_SECONDS = 20.0
"""How long a process may take to stop, until it is killed."""

_BOOLEAN = b"\x08\x04"

Main = Callable[["World", Process, Machine], Coroutine[Any, Any, None]]


@dataclass
class Result:
    """What has come of a seed."""

    seed: int
    violations: list[str]
    trace: list[str] = field(repr=False)
    seconds: float
    """Virtual ones."""


class World:
    """Everything that there is."""

    def __init__(self, seed: int, loop: VirtualLoop, mutation: Mutation, *, faults: bool, tracing: bool) -> None:
        self.seed = seed
        self.loop = loop
        self.mutation = mutation
        self.dice = random.Random(f"world {seed}")
        self.store = MemoryStore()
        self.network = Network(loop, self.dice)
        self.etcd = Etcd(loop, self.dice)
        self.bucket = Bucket(self.dice)
        self.checker = Checker(self)
        self.trace: list[str] = []
        self._tracing = tracing
        self.capacity = Slots(self.dice.choice([1000, 2000, 4000]), 64 << 30, self.dice.choice([0, 0, 1, 2]))
        self.propellers = [f"p{place}" for place in range(self.dice.choice([1, 2, 2, 3]))]
        self.executors = [f"e{place}" for place in range(self.dice.choice([1, 2, 2, 3]))]
        self.project_limit = self.dice.choice([0, 0, 0, 1, 2])
        """How many attempts may run at once; 0 is as many as there is room for, and each shard gets one at least."""
        self.shards = random.Random(f"shards {seed}").choice([1, 1, 1, 2, 3])
        if self.project_limit:
            self.project_limit = max(self.project_limit, self.shards)
        self.leading: dict[str, Shards] = {}
        """By process."""
        self.processes: dict[str, Process] = {}
        self.machines: dict[str, Machine] = {}
        self.incarnations: dict[str, str] = {}
        self.calm = False
        """Whether nothing goes wrong any more, and nobody changes their mind."""
        self.store_failing = 0.0
        self.hints: list[int] = [1]
        """How often a hint is given."""
        self.hint: Callable[[int, Reason], None] = lambda key, reason: None
        self.plans: dict[str, Plan] = {}
        self.submitted: dict[int, tuple[Plan, int]] = {}
        self.aborted: set[int] = set()
        self._mains: dict[str, Main] = {}
        self._stopping: dict[Process, asyncio.Event] = {}
        self._tasks: dict[Process, asyncio.Task[None]] = {}
        self._lives = 0
        self._chaos = Chaos(self, random.Random(f"faults {seed}")) if faults else None

    def note(self, text: str) -> None:
        """A line of the trace."""
        if self._tracing:
            self.trace.append(f"{self.loop.time():10.6f} {text}")

    # ---------------------------------------------------------------------------------------------------- processes

    def start(self, name: str, main: Main) -> None:
        self._mains[name] = main
        self.machines.setdefault(name, Machine(self.loop))
        process = self.processes[name] = Process(name)
        self._stopping[process] = asyncio.Event()
        task = self._tasks[process] = self.loop.start(process, main(self, process, self.machines[name]))
        task.add_done_callback(lambda done: self._ended(process, done))

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        if process.dead or self._stopping[process].is_set():
            if not task.cancelled() and task.exception() is not None and not process.dead:
                self.checker.violated(f"{process} failed while it stopped: {task.exception()!r}")
            return
        error = None if task.cancelled() else task.exception()
        self.checker.violated(f"{process} has ended by itself: {error!r}")

    def kill(self, name: str) -> None:
        process = self.processes[name]
        self.note(f"{name} is killed")
        self.network.break_calls(self.network.calls_of(process))
        self.loop.kill(process)
        self.checker.died(name)

    async def stop(self, name: str) -> bool:
        """Stops a process in order, or kills it if that takes too long. Returns whether it is for us to restart it."""
        process = self.processes[name]
        if process.dead or self._stopping[process].is_set():
            return False
        self.note(f"{name} is to stop")
        self._stopping[process].set()
        await asyncio.wait((self._tasks[process],), timeout=STOP_SECONDS)
        if not process.dead:
            self.kill(name)
        return True

    def restart(self, name: str) -> None:
        if self.processes[name].dead:
            self.note(f"{name} is started again")
            self.start(name, self._mains[name])

    def stopping_of(self, process: Process) -> asyncio.Event:
        return self._stopping[process]

    def next_life(self) -> int:
        self._lives += 1
        return self._lives

    # ---------------------------------------------------------------------------------------------- what is known

    def root_of(self, key: int) -> int:
        return self.store.executions[key].root_key

    def path_of(self, key: int) -> str:
        """The launch plan nodes that lead to an execution."""
        state = self.store.executions[key]
        if state.parent_key is None:
            return ""
        return f"{self.path_of(state.parent_key)}{state.parent_node_id}/"

    def fate_seed(self, root: int) -> str:
        return f"{self.seed}/{root}"

    # ------------------------------------------------------------------------------------------------- what happens

    async def live(self) -> None:
        """From the first process to the last verdict."""
        self.start(services.QUEUE, services.queue)
        self.start("admin", services.admin)
        for name in self.propellers:
            self.start(name, services.propeller)
        for name in self.executors:
            self.start(name, services.executor)
        self.network.on_request = lambda call, message: self.mutation.on_request(self, call, message)
        people = world_task(self.loop, self._people(), "people")
        submitting = world_task(self.loop, self._submit(), "submit")
        if self._chaos is not None:
            await self._chaos.rage()
        await submitting
        self.calm = True
        try:
            async with asyncio.timeout(REST_SECONDS):
                while not all(state.phase.terminal for state in self.store.executions.values()):
                    await asyncio.sleep(0.5)
        except TimeoutError:
            self.note("time is up")
        self.checker.finish()
        people.cancel()
        await self._end()

    async def _submit(self) -> None:
        planner = Planner(self.dice)
        await asyncio.sleep(self.dice.random())
        for key in range(1, self.dice.randint(2, 5)):
            plan, x = planner.plan(), self.dice.randint(0, 1)
            self.plans.update({below.name: below for below in plans_below(plan)})
            register(self.store, plan, self.dice.randint(0, self.capacity.gpus))
            self.submitted[key] = (plan, x)
            self.store.submit(replace(state_of(plan, x, key), shard=shard_of(key, self.shards)))
            self.note(f"execution {key} of {plan.name} is accepted")
            self.hint(key, Reason.SUBMITTED)
            await asyncio.sleep(self.dice.random() * 6)

    async def _people(self) -> None:
        """They answer what is asked, and change their minds."""
        while True:
            await asyncio.sleep(0.3 + self.dice.random())
            for key, asked in list(self.store.signals.items()):
                state = self.store.executions[key]
                given = {id for id, _ in state.intent.signals}
                for id, signal in asked.items():
                    if id not in given and not state.phase.terminal and self.dice.random() < 0.6:
                        self.store.set_signal(key, id, self._answer(key, id, signal.type))
                        self.hint(key, Reason.SIGNAL)
            for key in self.submitted if not self.calm else ():
                if self.dice.random() < 0.006 and not self.store.executions[key].phase.terminal:
                    self.note(f"execution {key} is to be aborted")
                    self.aborted.add(key)
                    self.store.request_abort(key, "enough", "somebody")
                    self.hint(key, Reason.INTENT)

    def _answer(self, key: int, id: str, kind: bytes) -> bytes:
        path = self.path_of(key)
        value = literals_pb2.Literal()
        if kind == _BOOLEAN:
            value.scalar.primitive.boolean = approved(outcome_of(self.fate_seed(self.root_of(key))), path, id)
        else:
            value = number(answered(path, id))
        return bytes(value.SerializeToString())

    async def _end(self) -> None:
        for process in self.processes.values():
            if not process.dead:
                self._stopping[process].set()
        for name in self.processes:
            self.kill(name)
        await asyncio.sleep(30)


def simulate(seed: int, mutation: Mutation = NONE, *, faults: bool = True, tracing: bool = False) -> Result:
    """Plays one seed."""
    backoff.DICE.seed(seed)
    loop = VirtualLoop(random.Random(f"threads {seed}"))
    failures: list[str] = []
    loop.set_exception_handler(lambda _, context: failures.append(_told(context)))
    world: World | None = None

    async def live() -> None:
        nonlocal world
        world = World(seed, loop, mutation, faults=faults, tracing=tracing)
        await world.live()

    with _quiet():
        try:
            loop.run_until_complete(live())
        except Exception as error:
            if world is None:
                raise
            world.checker.violated(f"the simulation broke off: {type(error).__name__}: {error}")
        finally:
            _leave(loop)
    assert world is not None
    return Result(seed, [*world.checker.violations, *failures], world.trace, loop.time())


def _leave(loop: VirtualLoop) -> None:
    """Whatever is left ends now, as if nobody were there any more."""
    loop.leaving = True
    for _ in range(3):
        left = asyncio.all_tasks(loop)
        if not left:
            break
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=60.0))
    loop.close()


def _told(context: dict[str, Any]) -> str:
    return f"{context['message']}: {context.get('exception')!r}"


@contextlib.contextmanager
def _quiet() -> Any:
    """Without collecting garbage at moments of its own choice, and without logs."""
    gc.disable()
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()
