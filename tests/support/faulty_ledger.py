"""A real ledger whose commits fail as they do in life, at moments drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from libs.store.ledger import Ledger
from libs.workflow.errors import AirscrewError, Fenced, Unavailable
from libs.workflow.state import Changes


class FaultyLedger(Ledger):
    """Fails every few commits: before it (nothing stored), or after it (stored, and the answer is lost).

    A lost answer as `Unavailable` is a broken connection; as `Fenced` it ends the leadership between the commit and
    what follows from it, which is what a killed leader leaves behind.
    """

    def __init__(self, url: str, seed: int, faults: list[str], share: float = 0.3) -> None:
        super().__init__(url)
        self._dice = random.Random(seed)
        self._faults = faults
        self._share = share

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        self._faulty(lambda: super(FaultyLedger, self).commit(shard, epoch, batch))

    def commit_at_once(self, shard: int, epoch: int, batch: Sequence[Changes]) -> bool:
        done: list[bool] = []
        self._faulty(lambda: done.append(super(FaultyLedger, self).commit_at_once(shard, epoch, batch)))
        return done == [True]

    def _faulty(self, commit: Callable[[], None]) -> None:
        if self._dice.random() >= self._share:
            commit()
            return
        fault = self._dice.choice(["before", "after", "end"])
        self._faults.append(fault)
        if fault != "before":
            commit()
        raise self._error(fault)

    def _error(self, fault: str) -> AirscrewError:
        if fault == "end":
            return Fenced("the test ends this leadership")
        return Unavailable(f"the test broke the connection {fault} a commit")
