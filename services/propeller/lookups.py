"""Questions to the store that gather while the last answer is under way: one read for all of them.

Whatever is asked is answered, unless the leadership ends: while the store is away it is asked again, with back-off. A
question that makes the store's rows unreadable is answered with the reason, and does not keep the others from theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from services.propeller.patience import patiently

logger = logging.getLogger(__name__)

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

BATCH = 1_000
"""Most questions in one read."""


class Lookups(Generic[Question, Answer]):
    """Asks about one kind of thing."""

    def __init__(
        self,
        name: str,
        read: Callable[[Sequence[Question]], Awaitable[Mapping[Question, Answer]]],
        answer: Callable[[Question, Answer | None, str], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        """`answer` takes a question with its answer, None when the store knows nothing, and what went wrong. `spawn`
        starts a task that ends with the leadership.
        """
        self._name = name
        self._read = read
        self._answer = answer
        self._spawn = spawn
        self._asked: dict[Question, None] = {}
        self._asking = False

    def ask(self, question: Question) -> None:
        """Will be answered. Asked again before it is read, it is one question."""
        self._asked[question] = None
        if not self._asking:
            self._asking = True
            self._spawn(self._name, self._ask_all())

    async def _ask_all(self) -> None:
        while self._asked:
            batch = list(self._asked)[:BATCH]
            for question in batch:
                del self._asked[question]
            await self._ask(batch)
        self._asking = False

    async def _ask(self, batch: list[Question]) -> None:
        try:
            found = await patiently(lambda: self._read(batch), self._name)
        except Exception as error:
            if len(batch) > 1:
                for question in batch:
                    await self._ask([question])
                return
            logger.exception("%s: %s cannot be looked up", self._name, batch[0])
            self._answer(batch[0], None, f"{type(error).__name__}: {error}")
        else:
            for question in batch:
                self._answer(question, found.get(question), "")
