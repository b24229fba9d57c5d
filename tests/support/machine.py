"""Drives the machine without any I/O: a store that is a few dictionaries, executors that are a list of what runs.

A `Store` holds executions, each a `World` of its own: one that was submitted, and those that it launches. A `World`
carries out the machine's commands, in an order that the test draws; every turn is "committed" by copying what it
changed, so that a crash at any moment can be played by restoring from the copies.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from flyteidl.core import literals_pb2

from libs.workflow.graph import Graph
from libs.workflow.machine import Execution, Stepper, Turn, new_execution, restore
from libs.workflow.machine import messages as m
from libs.workflow.machine.invariants import violations
from libs.workflow.phases import Desired, ErrorKind
from libs.workflow.state import (
    AttemptState,
    Data,
    ExecutionState,
    Intent,
    NodeState,
    Reservation,
    SignalState,
    Snapshot,
)
from tests.support.graphs import DYNAMIC, Plan, computed, graph_of, number, plans_below, state_of
from tests.support.oracle import Outcome, all_is_well, answered, approved, buildable

Errand = m.ReadBlob | m.WriteBlob | m.BuildGraph | m.LookUpCache

STEPPER = Stepper()
"""One for all executions, as a leader has."""

Chance = Callable[[], m.Event | None]
"""Something that can happen: makes it happen, and returns what the machine is told of it."""


@dataclass
class Store:
    """Everything outside the machine that outlives a leader, and what the dice decide."""

    dice: random.Random
    outcome: Outcome = all_is_well
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Those that may be launched or asked for, by name."""
    large: float = 0.0
    """How often outputs lie in the blob store."""
    now_us: int = 1_000_000
    worlds: dict[int, World] = field(default_factory=dict)
    """By key of the execution."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    closures: dict[str, Graph] = field(default_factory=dict)
    """The graphs that tasks have asked for, by where they lie."""
    cache: dict[bytes, Data] = field(default_factory=dict)
    reservations: dict[bytes, tuple[int, str]] = field(default_factory=dict)
    """By key of the cache, the execution and the node that compute its value."""

    def graph(self, plan_name: str) -> Graph:
        return graph_of(self.plans[plan_name])

    def launch(self, state: ExecutionState, path: str) -> None:
        assert state.key not in self.worlds, "two executions have one key"
        graph = self.graph(state.launch_plan.name)
        it = self.worlds[state.key] = World(new_execution(replace(state), graph), graph, self, path)
        if state.recovers_key is not None:
            it.forget()

    def recover(self, key: int, new_key: int) -> World:
        """A new execution that takes over what another has achieved."""
        old = self.worlds[key]
        state = state_of(self.plans[old.state.launch_plan.name], key=new_key)
        state.inputs = old.state.inputs
        state.recovers_key = key
        self.launch(state, old.path)
        return self.worlds[new_key]

    def recoverable(self, key: int | None) -> list[NodeState]:
        return [replace(node) for node in self.worlds[key].nodes.values()] if key is not None else []

    def look_up(self, asker: tuple[int, str], command: m.LookUpCache) -> m.CacheAnswered:
        """As the ledger answers: what is reserved by somebody who has ended is taken over."""
        found = self.cache.get(command.key)
        if found is not None or not command.reserve:
            return m.CacheAnswered(command.node_id, found)
        key, node_id = self.reservations.get(command.key, asker)
        world = self.worlds[key]
        gone = world.state.phase.terminal or (node_id in world.nodes and world.nodes[node_id].phase.terminal)
        if gone or (key, node_id) == asker:
            self.reservations[command.key] = asker
            return m.CacheAnswered(command.node_id, None)
        return m.CacheAnswered(command.node_id, None, reserved=False)

    def release(self, reservation: Reservation) -> None:
        owner = (reservation.execution_key, reservation.node_id)
        if self.reservations.get(reservation.key) == owner:
            del self.reservations[reservation.key]
        for world in self.worlds.values():
            world.mail.append(m.CacheFreed(reservation.key))

    def children(self, key: int) -> Iterator[World]:
        return (world for world in self.worlds.values() if world.state.parent_key == key)

    def abort_below(self, key: int, cause: str, principal: str) -> None:
        """As the ledger does it, in the commit that asks for it."""
        for child in self.children(key):
            child.order_abort(cause, principal)
            self.abort_below(child.state.key, cause, principal)

    def proceed(self) -> bool:
        """Lets one thing happen that can happen, or several in one turn; False when nothing can."""
        chances = [(world, chance) for world in self.worlds.values() for chance in world.chances()]
        wakes = [wake for world in self.worlds.values() if (wake := world.execution.state.next_wake_at_us) is not None]
        if wakes and (not chances or self.dice.random() < 0.05):
            self.now_us = max(self.now_us, min(wakes))
        elif not chances:
            return False
        self.now_us += self.dice.randrange(1000)
        due = [
            world for world in self.worlds.values() if (world.execution.state.next_wake_at_us or 1e18) <= self.now_us
        ]
        if due and (not chances or self.dice.random() < 0.3):
            self.dice.choice(due).turn()
            return True
        if not chances:
            return True
        world, chance = self.dice.choice(chances)
        world.happen(chance)
        return True

    def run(self) -> None:
        """Until nothing can happen any more."""
        while self.proceed():
            pass

    def check(self) -> None:
        """Nothing is left alive below an end."""
        for world in self.worlds.values():
            for child in self.children(world.state.key):
                launcher = world.nodes.get(child.state.parent_node_id)
                assert launcher is not None
                assert launcher.child_key == child.state.key
                assert child.state.phase.terminal or not launcher.phase.terminal, "a node has ended before its child"
                assert child.state.phase.terminal or not world.state.phase.terminal, "a child outlives its parent"


@dataclass
class World:
    """One execution, its rows, and everything outside that answers it."""

    execution: Execution
    graph: Graph
    store: Store
    path: str = ""
    """The launch plan nodes that lead to this execution."""
    nodes: dict[str, NodeState] = field(default_factory=dict)
    attempts: dict[tuple[str, int], AttemptState] = field(default_factory=dict)
    signals: dict[str, SignalState] = field(default_factory=dict)
    state: ExecutionState = field(init=False)
    intent: Intent = field(init=False)
    seeking: list[tuple[str, int]] = field(default_factory=list)
    running: dict[tuple[str, int], str] = field(default_factory=dict)
    """Attempts that are being worked on, and the executor that has them."""
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    stopping: set[tuple[str, int]] = field(default_factory=set)
    errands: list[Errand] = field(default_factory=list)
    """What the leader is busy with outside the machine."""
    mail: list[m.Event] = field(default_factory=list)
    """What the leader has heard and the machine has not."""
    ended: bool = False
    touched: int = 0

    def __post_init__(self) -> None:
        self.state = replace(self.execution.state)
        self.intent = self.state.intent

    @property
    def now_us(self) -> int:
        return self.store.now_us

    # ------------------------------------------------------------------------------------------------------ turns

    def turn(self, *events: m.Event, at_once: bool = False) -> Turn:
        """One turn: step, commit, carry out. `at_once` there are slots for what seeks them."""
        final = {node_id: replace(node) for node_id, node in self.nodes.items() if node.phase.terminal}
        turn = STEPPER.step(self.execution, events, self.now_us)
        seen = 0
        while at_once and (placed := [_placed(each) for each in turn.commands[seen:] if isinstance(each, m.Seek)]):
            seen = len(turn.commands)
            STEPPER.place(self.execution, placed, self.now_us, turn)
        self.touched = len(turn.changes.nodes)
        self._commit(turn)
        for node_id, before in final.items():
            assert self.nodes[node_id] == before, f"final node {node_id} has changed"
        assert not (found := violations(self.execution)), "\n".join(found)
        for command in turn.commands:
            self._carry_out(command)
        self.store.check()
        return turn

    def _commit(self, turn: Turn) -> None:
        changes = turn.changes
        if changes.execution_changed:
            self.state = replace(changes.execution)
        for node_id, node in changes.nodes.items():
            self.nodes[node_id] = replace(node)
        for key, attempt in changes.attempts.items():
            self.attempts[key] = replace(attempt)
        for signal in changes.signals:
            self.signals.setdefault(signal.id, signal)
        for entry in changes.cached:
            self.store.cache[entry.key] = entry.outputs
        for reservation in changes.released:
            self.store.release(reservation)
        for child in changes.children:
            self.store.launch(child, f"{self.path}{child.parent_node_id}/")
        for below in changes.aborts:
            if below.child_key is not None:
                self.store.worlds[below.child_key].order_abort(below.cause, below.principal)
            self.store.abort_below(below.child_key or self.state.key, below.cause, below.principal)

    def _carry_out(self, command: m.Command) -> None:
        if isinstance(command, m.Seek):
            self.seeking.append((command.node_id, command.attempt))
        elif isinstance(command, m.Unseek):
            if (command.node_id, command.attempt) in self.seeking:
                self.seeking.remove((command.node_id, command.attempt))
        elif isinstance(command, m.Dispatch):
            if (command.node_id, command.attempt) in self.seeking:
                self.seeking.remove((command.node_id, command.attempt))
            self._start((command.node_id, command.attempt))
        elif isinstance(command, m.Stop):
            self.stopping.add((command.node_id, command.attempt))
        elif isinstance(command, Errand):
            self.errands.append(command)
        elif isinstance(command, m.LookUpChild):
            child = self.store.worlds[command.child_key]
            if child.state.phase.terminal:
                self.mail.append(child.obituary())
        elif isinstance(command, m.End):
            self.ended = True
            if self.state.parent_node_id:
                self.store.worlds[self.state.parent_key or 0].mail.append(self.obituary())

    def _start(self, attempt: tuple[str, int]) -> None:
        if attempt not in self.running:
            self.starts[attempt] = self.starts.get(attempt, 0) + 1
        self.running[attempt] = self.attempts[attempt].executor or ""

    def obituary(self) -> m.ChildEnded:
        state = self.state
        return m.ChildEnded(state.parent_node_id, state.key, state.phase, state.outputs, state.error)

    # ---------------------------------------------------------------------------------------------- from outside

    def begin(self) -> Turn:
        return self.turn(m.IntentRead(self.intent))

    def order_abort(self, cause: str, principal: str) -> None:
        """An abort that nobody here has noticed yet."""
        if self.intent.desired is Desired.RUN and not self.state.phase.terminal:
            self.intent = replace(
                self.intent,
                generation=self.intent.generation + 1,
                desired=Desired.ABORT,
                abort_cause=cause,
                abort_principal=principal,
            )

    def abort(self) -> Turn:
        self.order_abort("enough", "somebody")
        return self.turn(m.IntentRead(self.intent))

    def give(self, signal: str, value: literals_pb2.Literal) -> None:
        """A signal that nobody here has noticed yet."""
        given = (*self.intent.signals, (signal, value.SerializeToString()))
        self.intent = replace(self.intent, generation=self.intent.generation + 1, signals=given)

    def forget(self) -> None:
        """All memory of this execution is lost; a new leader reads the rows, and executors tell what they run."""
        open_attempts = [replace(attempt) for attempt in self.attempts.values() if not attempt.phase.terminal]
        nodes = [replace(node) for node in self.nodes.values()]
        self.store.dice.shuffle(nodes)
        for lost in (self.seeking, self.stopping, self.errands, self.mail):
            lost.clear()
        state = replace(self.state)
        state.intent = self.intent
        closures = {
            node.closure_uri: self.store.closures[node.closure_uri]
            for node in nodes
            if node.closure_uri is not None and not node.phase.terminal
        }
        recoverable = self.store.recoverable(state.recovers_key)
        self.execution = restore(Snapshot(state, nodes, open_attempts, recoverable), self.graph, closures)

    def crash(self) -> Turn:
        """Its memory is lost, and somebody takes it up again."""
        self.forget()
        return self.turn(m.IntentRead(self.intent))

    # ------------------------------------------------------------------------------------------ what may come next

    def chances(self) -> Iterator[Chance]:
        """What can happen to it."""
        yield from (lambda seek=seek: self._place(seek) for seek in self.seeking)
        yield from (lambda attempt=attempt: self._report(attempt) for attempt in self.running)
        yield from (lambda errand=errand: self._return(errand) for errand in self.errands)
        yield from (lambda event=event: self._deliver(event) for event in self.mail)
        if self.state.phase.terminal:
            return
        if self.intent.generation > self.state.observed_generation or self.execution.resumed:
            yield lambda: m.IntentRead(self.intent)
        given = {signal for signal, _ in self.intent.signals}
        yield from (lambda signal=signal: self._answer(signal) for signal in sorted(self.signals.keys() - given))

    def happen(self, chance: Chance) -> None:
        """It happens, and maybe more does before anybody looks."""
        events = [chance()]
        while self.store.dice.random() < 0.2 and (chances := list(self.chances())):
            events.append(self.store.dice.choice(chances)())
        told = [event for event in events if event is not None]
        if told:
            self.turn(*told, at_once=self.store.dice.random() < 0.3)

    def proceed(self) -> bool:
        return self.store.proceed()

    def run(self) -> None:
        self.store.run()

    def _place(self, seek: tuple[str, int]) -> m.Event:
        self.seeking.remove(seek)
        return _placed(m.Seek(*seek))

    def _deliver(self, event: m.Event) -> m.Event:
        self.mail.remove(event)
        return event

    def _answer(self, signal: str) -> None:
        value = number(answered(self.path, signal))
        if self.signals[signal].type == _BOOLEAN:
            value.scalar.primitive.boolean = approved(self.store.outcome, self.path, signal)
        self.give(signal, value)

    def _return(self, errand: Errand) -> m.Event:
        self.errands.remove(errand)
        if isinstance(errand, m.LookUpCache):
            return self.store.look_up((self.state.key, errand.node_id), errand)
        if isinstance(errand, m.ReadBlob):
            return m.BlobRead(errand.uri, self.store.blobs[errand.uri])
        if isinstance(errand, m.WriteBlob):
            uri = f"{self.state.key}/{errand.node_id}/{errand.role}"
            self.store.blobs[uri] = errand.content
            return m.BlobWritten(errand.node_id, errand.role, Data.at(uri, len(errand.content)))
        attempt = (errand.node_id, errand.attempt)
        if not buildable(self.store.outcome, self.path + errand.node_id, errand.attempt):
            return m.GraphBuilt(*attempt, None, error=f"{self.path}{errand.node_id} makes no sense")
        uri = f"{self.state.key}/{errand.node_id}/{errand.attempt}"
        self.store.closures[uri] = self.store.graph(errand.futures_uri)
        return m.GraphBuilt(*attempt, self.store.closures[uri], uri)

    def _report(self, attempt: tuple[str, int]) -> m.Event:
        executor = self.running[attempt]
        row = self.attempts[attempt]
        if attempt in self.stopping and self.store.dice.random() < 0.7:
            event: m.Event = m.Stopped(*attempt, executor, 9, self.now_us, "told to")
        elif row.started_at_us is None and self.store.dice.random() < 0.5:
            return m.Started(*attempt, executor, 1, self.now_us)
        else:
            event = self._outcome(attempt, executor)
        del self.running[attempt]
        self.stopping.discard(attempt)
        if self.store.dice.random() < 0.2:
            self.mail.append(event)  # a report may come twice
        return event

    def _outcome(self, attempt: tuple[str, int], executor: str) -> m.Event:
        node_id, attempt_number = attempt
        path = self.path + node_id
        outcome = self.store.outcome(path, attempt_number)
        if outcome == "succeed":
            return self._success(attempt, executor)
        if outcome == "lost":
            return m.Lost(*attempt, "life-1", f"{path} is gone")
        if outcome == "reject":
            return m.Rejected(*attempt, executor, 9, "no room")
        if outcome == "hand back":
            return m.HandedBack(*attempt, executor, 9, self.now_us, None, "its executor drains")
        kind = ErrorKind.SYSTEM if outcome == "system" else ErrorKind.USER
        message = f"{path} has failed"
        return m.Failed(*attempt, executor, 9, self.now_us, None, outcome, message, kind, outcome != "fatal")

    def _success(self, attempt: tuple[str, int], executor: str) -> m.Event:
        task = self.nodes[attempt[0]].task
        assert task is not None
        if task.name.startswith(DYNAMIC):
            futures = Data.at(task.name.removeprefix(DYNAMIC), 1)
            return m.Succeeded(*attempt, executor, 9, self.now_us, None, Data.of(b""), futures=futures)
        outputs = self._stored(attempt, computed(self.inputs(attempt[0])))
        return m.Succeeded(*attempt, executor, 9, self.now_us, None, outputs)

    def _stored(self, attempt: tuple[str, int], outputs: literals_pb2.LiteralMap) -> Data:
        """Outputs in the blob store may be too large for the row of whoever reads them, too."""
        dice = self.store.dice.random()
        if dice >= self.store.large:
            return Data.of(outputs.SerializeToString())
        if dice < self.store.large / 2:
            outputs.literals["o"].hash = "x" * 17_000
        uri = f"{self.state.key}/{attempt[0]}/{attempt[1]}/outputs"
        self.store.blobs[uri] = outputs.SerializeToString()
        return Data.at(uri, len(self.store.blobs[uri]))

    def content(self, data: Data | None) -> literals_pb2.LiteralMap:
        """A literal map, wherever it lies."""
        assert data is not None
        content = data.inline if data.uri is None else self.store.blobs[data.uri]
        return literals_pb2.LiteralMap.FromString(content or b"")

    def inputs(self, node_id: str) -> literals_pb2.LiteralMap:
        """What a task finds: an item that shares the inputs of its array takes its elements of them."""
        node = self.nodes[node_id]
        if node.inputs is not None:
            return self.content(node.inputs)
        found = literals_pb2.LiteralMap()
        for name, literal in self.content(self.nodes[node.parent_id].inputs).literals.items():
            elements = literal.collection.literals
            found.literals[name].CopyFrom(literal if name == "y" else elements[int(node.spec_id.removeprefix("n"))])
        return found

    def result(self) -> int:
        """The output of the execution."""
        return int(self.content(self.state.outputs).literals["o"].scalar.primitive.integer)


_BOOLEAN = b"\x08\x04"
"""The serialized type of approvals."""


def world(state: ExecutionState, graph: Graph, outcome: Outcome = all_is_well, seed: int = 0) -> World:
    """A world around an execution that has not begun and launches none."""
    store = Store(random.Random(seed), outcome)
    it = store.worlds[state.key] = World(new_execution(replace(state), graph), graph, store)
    return it


def world_of(plan: Plan, x: int = 0, outcome: Outcome = all_is_well, seed: int = 0, large: float = 0.0) -> World:
    """A world around an execution of `plan` that has not begun, with all that it launches and asks for."""
    plans = {below.name: below for below in plans_below(plan)}
    store = Store(random.Random(seed), outcome, plans, large)
    store.launch(state_of(plan, x), "")
    return store.worlds[1]


def _placed(seek: m.Seek) -> m.Placed:
    return m.Placed(seek.node_id, seek.attempt, "executor", "life-1", "log")
