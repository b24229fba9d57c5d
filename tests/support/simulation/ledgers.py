"""The database, as one propeller reaches it: calls that fail before or after they are carried out, and a record of all
that is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from libs.workflow.errors import Fenced, Unavailable
from libs.workflow.state import Changes, Snapshot
from tests.support.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from tests.support.simulation.world import World


class SimulatedLedger(MemoryLedger):
    """One connection."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world.store)
        self.world = world
        self.name = name

    def claim(self, shard: int, etcd_cluster: str, create_revision: int, holder: str, address: str, now_us: int) -> int:
        self._may_fail("before")
        epoch = super().claim(shard, etcd_cluster, create_revision, holder, address, now_us)
        self.world.note(f"{self.name} claims epoch {epoch}")
        self.world.checker.claimed(shard, epoch)
        self._may_fail("after")
        return epoch

    def renew(self, shard: int) -> int:
        self._may_fail("before")
        epoch = super().renew(shard)
        self.world.note(f"{self.name} renews: epoch {epoch}")
        self.world.checker.claimed(shard, epoch)
        self._may_fail("after")
        return epoch

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        self._may_fail("before")
        try:
            super().commit(shard, epoch, batch)
        except Fenced:
            self.world.note(f"{self.name} is fenced in epoch {epoch}")
            raise
        self.world.note(f"{self.name} commits in epoch {epoch}: {'; '.join(map(_shown, batch))}")
        self.world.checker.committed(shard, epoch, batch)
        self._may_fail("after")

    def quarantine(self, shard: int, epoch: int, key: int, reason: str, now_us: int) -> None:
        super().quarantine(shard, epoch, key, reason, now_us)
        self.world.checker.quarantined(key, reason)

    def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        self._may_fail("before")
        return super().load(shard, keys)

    def _may_fail(self, when: str) -> None:
        if self.world.dice.random() < self.world.store_failing:
            self.world.note(f"the store fails {self.name} {when} a call")
            raise Unavailable(f"the connection broke {when} a call")


def _shown(changes: Changes) -> str:
    parts = [f"{node.id} {node.phase.name}" for node in changes.nodes.values()]
    parts += [
        f"{node}/{number} {attempt.phase.name} {attempt.executor or ''}"
        for (node, number), attempt in changes.attempts.items()
    ]
    parts += [f"launch {child.key}" for child in changes.children]
    return f"{changes.execution.key} {changes.execution.phase.name} [{', '.join(parts)}]"
