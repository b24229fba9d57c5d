"""A real ledger whose commits fail as they do in life, at moments drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
        with self._faulty() as reaches_the_store:
            if reaches_the_store:
                super().commit(shard, epoch, batch)

    async def commit_on_loop(self, shard: int, epoch: int, batch: Sequence[Changes]) -> bool:
        done = False
        with self._faulty() as reaches_the_store:
            if reaches_the_store:
                done = await super().commit_on_loop(shard, epoch, batch)
        return done

    @contextmanager
    def _faulty(self) -> Iterator[bool]:
        """Around a commit: whether it is to be made at all. What is to be known of it is raised after it."""
        fault = self._dice.choice(["before", "after", "end"]) if self._dice.random() < self._share else None
        yield fault != "before"
        if fault is not None:
            self._faults.append(fault)
            raise self._error(fault)

    def _error(self, fault: str) -> AirscrewError:
        if fault == "end":
            return Fenced("the test ends this leadership")
        return Unavailable(f"the test broke the connection {fault} a commit")
