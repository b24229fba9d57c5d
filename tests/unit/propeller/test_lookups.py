"""Questions gather into one read, and each is answered, whatever becomes of the read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.workflow.errors import Unavailable
from services.propeller.lookups import Lookups
from tests.support.waiting import until


@dataclass
class Library:
    """Answers the squares of numbers; `go` lets it."""

    reads: list[list[int]] = field(default_factory=list)
    answers: dict[int, tuple[int | None, str]] = field(default_factory=dict)
    away: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def lookups(self) -> Lookups[int, int]:
        return Lookups("squares", self.read, self.answer, self.spawn)

    async def read(self, numbers: Sequence[int]) -> Mapping[int, int]:
        self.reads.append(list(numbers))
        await self.go.wait()
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        if 13 in numbers:
            raise ValueError("13 makes no sense")
        return {number: number**2 for number in numbers if number >= 0}

    def answer(self, number: int, square: int | None, trouble: str) -> None:
        assert number not in self.answers, "answered twice"
        self.answers[number] = (square, trouble)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))


async def test_what_is_asked_during_a_read_is_one_read_after_it() -> None:
    library = Library()
    lookups = library.lookups()
    lookups.ask(1)
    await until(lambda: library.reads)
    for number in (2, 3, 2):
        lookups.ask(number)
    library.go.set()
    await until(lambda: len(library.answers) == 3)
    assert library.reads == [[1], [2, 3]]
    assert library.answers == {1: (1, ""), 2: (4, ""), 3: (9, "")}


async def test_what_the_store_does_not_know_is_answered_too() -> None:
    library = Library()
    library.go.set()
    library.lookups().ask(-1)
    await until(lambda: library.answers)
    assert library.answers == {-1: (None, "")}


async def test_a_store_that_is_away_is_asked_again() -> None:
    library = Library(away=2)
    library.go.set()
    library.lookups().ask(2)
    await until(lambda: library.answers)
    assert library.reads == [[2]] * 3
    assert library.answers == {2: (4, "")}


async def test_a_question_that_cannot_be_answered_keeps_no_other_from_its_answer() -> None:
    library = Library()
    lookups = library.lookups()
    for number in (12, 13, 14):
        lookups.ask(number)
    library.go.set()
    await until(lambda: len(library.answers) == 3)
    assert library.answers == {12: (144, ""), 13: (None, "ValueError: 13 makes no sense"), 14: (196, "")}


async def test_asking_begins_anew_after_everything_was_answered() -> None:
    library = Library()
    library.go.set()
    lookups = library.lookups()
    lookups.ask(1)
    await until(lambda: all(task.done() for task in library.tasks))
    lookups.ask(2)
    await until(lambda: len(library.answers) == 2)
