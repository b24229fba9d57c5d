"""What must be true at every moment of a simulation, and at its end. What is not is a violation, told in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from libs.wire.session import Ack
from libs.workflow.identity import AttemptId
from libs.workflow.phases import AttemptPhase, ExecutionPhase
from libs.workflow.quantities import Slots
from libs.workflow.state import Changes, ExecutionState
from services.executor.slots import Grant
from tests.support.graphs import integer
from tests.support.oracle import expected
from tests.support.simulation.plans import outcome_of

if TYPE_CHECKING:
    from tests.support.simulation.world import World

_SYSTEM_BUDGET = 3


class Violation(Exception):
    """Something has happened that must not."""


class Checker:
    """Watches what the world is asked to do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.violations: list[str] = []
        self._committed_epoch: dict[int, int] = {}
        self._claimed_epoch: dict[int, int] = {}
        self._starts: dict[AttemptId, str] = {}
        self._running: dict[str, dict[AttemptId, Grant]] = {}

    def violated(self, what: str) -> None:
        self.violations.append(what)
        self._world.note(f"VIOLATION {what}")

    # ------------------------------------------------------------------------------------------------- the store

    def claimed(self, shard: int, epoch: int) -> None:
        if epoch < self._claimed_epoch.get(shard, 0):
            self.violated(f"epoch {epoch} was claimed after epoch {self._claimed_epoch[shard]}")
        self._claimed_epoch[shard] = epoch

    def committed(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        if epoch < self._claimed_epoch.get(shard, 0):
            self.violated(f"a commit of epoch {epoch} follows the claim of epoch {self._claimed_epoch[shard]}")
        if epoch < self._committed_epoch.get(shard, 0):
            self.violated(f"a commit of epoch {epoch} follows one of epoch {self._committed_epoch[shard]}")
        self._committed_epoch[shard] = max(epoch, self._committed_epoch.get(shard, 0))
        store = self._world.store
        for changes in batch:
            for (node, number), attempt in changes.attempts.items():
                id = AttemptId(changes.execution.key, node, number)
                if attempt.phase is AttemptPhase.REJECTED and id in self._starts:
                    self.violated(f"attempt {id} is stored as never begun, and was started on {self._starts[id]}")
            if not changes.execution.phase.terminal:
                continue
            for child in store.executions.values():
                if child.parent_key == changes.execution.key and not child.phase.terminal:
                    self.violated(f"execution {child.key} lives on under its final parent {changes.execution.key}")

    def quarantined(self, key: int, reason: str) -> None:
        self.violated(f"execution {key} was quarantined: {reason}")

    # ------------------------------------------------------------------------------------------------ the executors

    def started(self, executor: str, id: AttemptId, grant: Grant) -> None:
        if id in self._starts:
            self.violated(f"attempt {id} was started on {executor} after it had been on {self._starts[id]}")
        self._starts[id] = executor
        row = self._world.store.attempts.get(id.execution, {}).get((id.node, id.attempt))
        if row is None or row.executor != executor:
            placed = "nowhere" if row is None else f"on {row.executor}"
            self.violated(f"attempt {id} starts on {executor}, but it is stored as placed {placed}")
        for (node, number), earlier in self._world.store.attempts.get(id.execution, {}).items():
            if node == id.node and number < id.attempt and earlier.phase is AttemptPhase.SUCCEEDED:
                self.violated(f"attempt {id} starts, although number {number} is stored as succeeded")
        running = self._running.setdefault(executor, {})
        running[id] = grant
        self._check_limits(id)
        used = Slots()
        for each in running.values():
            used = used.plus(each.slots)
        if not used.fits(self._world.capacity):
            self.violated(f"executor {executor} runs {used} at once, and has {self._world.capacity}")
        devices = [device for each in running.values() for device in each.devices]
        if len(set(devices)) < len(devices):
            self.violated(f"a device of executor {executor} is used twice at once: {devices}")

    def _check_limits(self, started: AttemptId) -> None:
        """What runs unknown to the leader, on an executor that was given up, does not count."""
        rows = self._world.store.attempts
        known = [
            id
            for running in self._running.values()
            for id in running
            if (row := rows.get(id.execution, {}).get((id.node, id.attempt))) and not row.phase.terminal
        ]
        if self._world.project_limit and len(known) > self._world.project_limit:
            self.violated(f"{len(known)} attempts of the project run at once, more than {self._world.project_limit}")
        plan = self._world.submitted.get(started.execution)
        own = sum(id.execution == started.execution for id in known)
        if plan and plan[0].max_parallelism and own > plan[0].max_parallelism:
            self.violated(f"{own} attempts of execution {started.execution} run at once, more than it may have")

    def ended(self, executor: str, id: AttemptId) -> None:
        self._running.get(executor, {}).pop(id, None)

    def died(self, executor: str) -> None:
        self._running.pop(executor, None)

    def acknowledged(self, executor: str, ack: Ack) -> None:
        """The executor forgets the report now: whatever it says must be stored, or not matter any more."""
        store = self._world.store
        execution = store.executions.get(ack.id.execution)
        row = store.attempts.get(ack.id.execution, {}).get((ack.id.node, ack.id.attempt))
        if execution is None or execution.phase.terminal or row is None or row.executor != executor:
            return
        if not row.phase.terminal:
            self.violated(f"the end of attempt {ack.id} was acknowledged to {executor} and is not stored")

    # ----------------------------------------------------------------------------------------------------- the end

    def finish(self) -> None:
        """Everything has come to rest."""
        for key, state in sorted(self._world.store.executions.items()):
            if not state.phase.terminal:
                self.violated(f"execution {key} is still {state.phase.name}: {self._whereabouts(key)}")
                continue
            self._check_rows(state)
            if state.parent_key is None:
                self._check_result(state)

    def _whereabouts(self, key: int) -> str:
        open_nodes = [
            f"{node.id} {node.phase.name}" for node in self._world.store.nodes[key].values() if not node.phase.terminal
        ]
        return ", ".join(open_nodes) or "no node is open"

    def _check_rows(self, state: ExecutionState) -> None:
        store = self._world.store
        for node in store.nodes[state.key].values():
            if not node.phase.terminal:
                self.violated(f"node {node.id} of the final execution {state.key} is still {node.phase.name}")
        numbers: dict[str, list[int]] = {}
        for (node_id, number), attempt in store.attempts[state.key].items():
            numbers.setdefault(node_id, []).append(number)
            if not attempt.phase.terminal:
                self.violated(f"attempt {state.key}/{node_id}/{number} is still {attempt.phase.name}")
        for node_id, used in numbers.items():
            if sorted(used) != list(range(len(used))):
                self.violated(f"the attempts of {state.key}/{node_id} are {sorted(used)}")

    def _check_result(self, state: ExecutionState) -> None:
        plan, x = self._world.submitted[state.key]
        wanted = expected(plan, x, outcome_of(self._world.fate_seed(state.key)))
        if state.phase is ExecutionPhase.SUCCEEDED:
            found = integer(state.outputs)
            if found != wanted and not self._worn_out(state.key):
                self.violated(f"execution {state.key} came to {found}, not {wanted}")
        elif state.phase is ExecutionPhase.ABORTED:
            if state.key not in self._world.aborted:
                self.violated(f"execution {state.key} was aborted, and nobody wanted it")
        elif wanted is not None and not self._worn_out(state.key):
            self.violated(f"execution {state.key} failed instead of coming to {wanted}: {state.error!r}")

    def _worn_out(self, key: int) -> bool:
        """Whether faults have used up the retries of a node of this execution, or of one below it."""
        store = self._world.store
        if any(node.system_failures >= _SYSTEM_BUDGET for node in store.nodes[key].values()):
            return True
        return any(self._worn_out(child.key) for child in store.executions.values() if child.parent_key == key)
