"""Whom an `admin` follows, and what it says of those that it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from libs.wire.hints import Hint
from libs.workflow.errors import Unavailable
from libs.workflow.phases import ExecutionPhase
from services.admin import ears
from services.admin.ears import Ears
from services.admin.hints import Hints
from tests.support.waiting import until

END = (1, int(ExecutionPhase.SUCCEEDED))


@dataclass
class Propellers:
    """One that answers, or does not, and hangs up when it is told to."""

    answers: bool = False
    hangs_up: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: int = 0
    open: int = 0

    async def follow(self, address: str) -> AsyncGenerator[list[Hint], None]:
        self.attempts += 1
        if not self.answers:
            raise Unavailable("nobody is there")
        self.open += 1
        try:
            yield []
            yield [END, END]
            await self.hangs_up.wait()
        finally:
            self.open -= 1


async def test_who_does_not_answer_is_left_alone_between_two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "AGAIN_SECONDS", (3600.0, 3600.0))
    propellers = Propellers()
    async with Ears(propellers, Hints()) as listening:
        listening.follow("p1:1")
        await until(lambda: propellers.attempts)
        for _ in range(100):
            await asyncio.sleep(0)
        assert propellers.attempts == 1


async def test_who_ends_the_stream_is_left_alone_for_a_while_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "AGAIN_SECONDS", (3600.0, 3600.0))
    propellers = Propellers(answers=True)
    propellers.hangs_up.set()
    async with Ears(propellers, Hints()) as listening:
        listening.follow("p1:1")
        await until(lambda: propellers.attempts and not propellers.open)
        for _ in range(100):
            await asyncio.sleep(0)
        assert propellers.attempts == 1


async def test_it_tells_how_many_it_follows_and_how_many_ends_it_has_heard_of() -> None:
    propellers = Propellers(answers=True)
    async with Ears(propellers, Hints()) as listening:
        listening.follow("p1:1")
        listening.follow("p1:1")
        listening.follow("p2:1")
        await until(lambda: listening.ends == 4)
        assert (listening.followed, propellers.open) == (2, 2)
        propellers.answers = False
        propellers.hangs_up.set()
        await until(lambda: not listening.followed)
    assert propellers.open == 0


async def test_what_is_followed_is_let_go_when_it_closes() -> None:
    propellers = Propellers(answers=True)
    async with Ears(propellers, Hints()) as listening:
        listening.follow("p1:1")
        await until(lambda: listening.followed)
    assert (listening.followed, propellers.open) == (0, 0)


async def test_of_who_never_answers_an_operator_is_warned_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ears, "AGAIN_SECONDS", (0.001, 0.001))
    monkeypatch.setattr(ears, "GIVE_UP_SECONDS", 0.005)

    def warnings() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]

    async with Ears(Propellers(), Hints()) as listening:
        for _ in range(2):
            for address in ("p1:1", "p2:1"):
                listening.follow(address)
            await until(lambda: not listening._following)
    assert sorted(message.split()[3].rstrip(",") for message in warnings()) == ["p1:1", "p2:1"]
    assert "nobody is there" in warnings()[0]


async def test_that_a_replica_has_stopped_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ears, "AGAIN_SECONDS", (0.001, 0.001))
    monkeypatch.setattr(ears, "GIVE_UP_SECONDS", 0.05)
    propellers = Propellers(answers=True)
    async with Ears(propellers, Hints()) as listening:
        listening.follow("p1:1")
        await until(lambda: listening.followed)
        propellers.answers = False
        propellers.hangs_up.set()
        await until(lambda: not listening._following)
    assert "WARNING" not in {each.levelname for each in caplog.records}
