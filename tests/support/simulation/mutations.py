"""Mistakes that a leader could make, brought in through its ports, to show that the simulation would find them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from libs.wire import codec
from libs.wire.session import Ack
from libs.workflow.phases import AttemptPhase
from libs.workflow.state import Changes, Snapshot
from protos import propeller_pb2
from services.propeller.store import LeaderStore, Ledger
from tests.support.simulation.ledgers import SimulatedLedger
from tests.support.simulation.loop import Process

if TYPE_CHECKING:
    from tests.support.simulation.network import Call
    from tests.support.simulation.world import World


class Mutation:
    """None at all; others replace a part."""

    name = "none"

    def ledger(self, world: World, name: str) -> Ledger:
        """How a propeller reaches the database."""
        return SimulatedLedger(world, name)

    def leader_store(self, world: World, process: Process, open_ledger: Callable[[], Ledger]) -> LeaderStore:
        """… from its event loop."""
        return LeaderStore(open_ledger)

    def on_request(self, world: World, call: Call, message: Any) -> None:
        """A message of a client has arrived."""


NONE = Mutation()


class NoFence(Mutation):
    """Commits do not look at the epoch."""

    name = "no fence in the commit"

    def ledger(self, world: World, name: str) -> Ledger:
        return _Unfenced(world, name)


class _Unfenced(SimulatedLedger):
    def _fence(self, shard: int, epoch: int) -> None:
        """Whoever comes may write."""


class AcknowledgeFirst(Mutation):
    """Final reports are acknowledged as they come."""

    name = "acknowledge before commit"

    def on_request(self, world: World, call: Call, message: Any) -> None:
        if isinstance(message, propeller_pb2.ExecutorMessage):
            ends = [report for report in codec.decode_executor(message).reports if report.phase.final]
            if ends:
                acks = codec.encode_leader([Ack(report.id, report.seq) for report in ends])
                world.network.send(call, acks, to_server=False)


class DispatchFirst(Mutation):
    """Attempts are sent to their executors before their placement is stored."""

    name = "dispatch before commit"

    def leader_store(self, world: World, process: Process, open_ledger: Callable[[], Ledger]) -> LeaderStore:
        return _Hasty(world, process, open_ledger)


class _Hasty(LeaderStore):
    def __init__(self, world: World, process: Process, open_ledger: Callable[[], Ledger]) -> None:
        super().__init__(open_ledger)
        self._world = world
        self._process = process

    async def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        term = self._world.leading[self._process.name].term(shard)
        for changes in batch:
            execution = term and term.library.get(changes.execution.key)
            for (node, number), attempt in changes.attempts.items():
                if term and execution and attempt.phase is AttemptPhase.QUEUED and attempt.executor:
                    term.sessions.dispatch(execution, node, number)
        await super().commit(shard, epoch, batch)


class ReadFirst(Mutation):
    """A new leader reads its state and claims the shard afterwards."""

    name = "state read before the claim"

    def leader_store(self, world: World, process: Process, open_ledger: Callable[[], Ledger]) -> LeaderStore:
        return _Early(open_ledger)


class _Early(LeaderStore):
    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        super().__init__(open_ledger)
        self._read: dict[int, Snapshot] = {}

    async def claim(
        self, shard: int, etcd_cluster: str, create_revision: int, holder: str, address: str, now_us: int
    ) -> int:
        snapshots = await super().load(shard, await self.live(shard, 0, 1000))
        self._read.update((snapshot.execution.key, snapshot) for snapshot in snapshots)
        return await super().claim(shard, etcd_cluster, create_revision, holder, address, now_us)

    async def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        early = [self._read.pop(key) for key in keys if key in self._read]
        known = {snapshot.execution.key for snapshot in early}
        return early + await super().load(shard, [key for key in keys if key not in known])


class MoveAttempts(Mutation):
    """What an execution has placed is dispatched under the same number to another executor when it is read again."""

    name = "re-dispatch of the same attempt number to another executor"

    def ledger(self, world: World, name: str) -> Ledger:
        return _Moving(world, name)


class _Moving(SimulatedLedger):
    def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        snapshots = super().load(shard, keys)
        for snapshot in snapshots:
            for attempt in snapshot.attempts:
                others = [name for name in self.world.executors if name != attempt.executor]
                if attempt.executor is not None and others:
                    attempt.executor = self.world.dice.choice(others)
                    attempt.incarnation = self.world.incarnations[attempt.executor]
                    attempt.phase = AttemptPhase.QUEUED
        return snapshots


class TimersInMemory(Mutation):
    """When something is due is not stored."""

    name = "a timer kept only in memory"

    def ledger(self, world: World, name: str) -> Ledger:
        return _Forgetful(world, name)


class _Forgetful(SimulatedLedger):
    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        super().commit(shard, epoch, [_without_timers(changes) for changes in batch])


def _without_timers(changes: Changes) -> Changes:
    execution = replace(changes.execution, next_wake_at_us=None)
    nodes = {id: replace(node, wake_at_us=None) for id, node in changes.nodes.items()}
    mutated = replace(changes)
    mutated.execution, mutated.nodes = execution, nodes
    return mutated


class ForgetBegun(Mutation):
    """Executors that come back do not say what they had begun."""

    name = "what had begun is taken for what had not"

    def on_request(self, world: World, call: Call, message: Any) -> None:
        if isinstance(message, propeller_pb2.ExecutorMessage) and message.HasField("hello"):
            message.hello.ClearField("begun")


MUTATIONS: tuple[Mutation, ...] = (
    NoFence(),
    AcknowledgeFirst(),
    DispatchFirst(),
    ReadFirst(),
    MoveAttempts(),
    TimersInMemory(),
    ForgetBegun(),
)
"""Those that must be found."""
