"""Giving signals to gates, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.records import SignalAnswer, SignalRecord
from libs.store.signals import Signals
from libs.workflow.errors import FailedPrecondition, InvalidArgument, NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import NodeKind, NodePhase
from libs.workflow.state import Changes, NodeState, SignalState
from tests.support import stored

EXECUTION = stored.execution(1).id
NOBODY = ExecutionId("flytesnacks", "development", "nobody")


@pytest.fixture
def signals(engine: AsyncEngine) -> Signals:
    return Signals(engine)


async def gates(url: str, ledger: Ledger, *ids: str, key: int = 1) -> None:
    """An execution with an active gate for each of these signals."""
    await stored.submit(url, stored.record(key))
    signals = [SignalState(id, f"n-{id}", b"type", 7 + n) for n, id in enumerate(ids)]
    ledger.commit(0, 1, [stored.waiting(stored.running(stored.execution(key)), *signals)])


async def test_a_signal_is_given_once_and_raises_the_generation(
    database_url: str, signals: Signals, ledger: Ledger
) -> None:
    await gates(database_url, ledger, "yes")
    assert await signals.set_signal(EXECUTION, "yes", b"true", "anna", 50) == SignalAnswer(1, 0, True)
    assert await signals.set_signal(EXECUTION, "yes", b"true", "bert", 60) == SignalAnswer(1, 0, False)
    assert ledger.intents([1])[1].generation == 2
    found = await signals.get_signal(EXECUTION, "yes")
    assert found == SignalRecord(EXECUTION, "yes", "n-yes", b"type", b"true", "anna", 7, 50)


async def test_another_value_is_refused_and_the_first_one_stays(
    database_url: str, signals: Signals, ledger: Ledger
) -> None:
    await gates(database_url, ledger, "yes")
    await signals.set_signal(EXECUTION, "yes", b"true", "anna", 50)
    with pytest.raises(FailedPrecondition, match="another value"):
        await signals.set_signal(EXECUTION, "yes", b"false", "bert", 60)
    assert ledger.intents([1])[1].signals == (("yes", b"true"),)


async def test_of_many_who_give_different_values_at_once_one_is_heard(
    database_url: str, signals: Signals, ledger: Ledger
) -> None:
    await gates(database_url, ledger, "yes")
    answers = await asyncio.gather(
        *(signals.set_signal(EXECUTION, "yes", bytes([number]), "", 50) for number in range(8)), return_exceptions=True
    )
    assert [type(answer) for answer in answers].count(SignalAnswer) == 1
    assert [type(answer) for answer in answers].count(FailedPrecondition) == 7
    assert ledger.intents([1])[1].generation == 2


async def test_a_signal_that_nothing_waits_for_yet_is_not_found(
    database_url: str, signals: Signals, ledger: Ledger
) -> None:
    await gates(database_url, ledger, "yes")
    with pytest.raises(NotFound, match="'no'"):
        await signals.set_signal(EXECUTION, "no", b"true", "", 50)
    with pytest.raises(NotFound, match="'no'"):
        await signals.get_signal(EXECUTION, "no")
    with pytest.raises(NotFound, match="nobody does not exist"):
        await signals.set_signal(NOBODY, "yes", b"true", "", 50)


async def test_a_signal_of_an_execution_that_has_ended_is_refused(
    database_url: str, signals: Signals, ledger: Ledger
) -> None:
    await gates(database_url, ledger, "yes")
    ledger.commit(0, 1, [stored.ended(stored.execution(1))])
    with pytest.raises(FailedPrecondition, match="has ended"):
        await signals.set_signal(EXECUTION, "yes", b"true", "", 50)
    assert (await signals.get_signal(EXECUTION, "yes")).value is None


async def test_a_signal_whose_gate_has_given_up_is_refused(database_url: str, signals: Signals, ledger: Ledger) -> None:
    await gates(database_url, ledger, "yes")
    ledger.commit(0, 1, [Changes(stored.execution(1), nodes={"n-yes": gate_that_gave_up()})])
    with pytest.raises(FailedPrecondition, match="waits any more"):
        await signals.set_signal(EXECUTION, "yes", b"true", "", 50)
    assert ledger.intents([1])[1].generation == 1


async def test_a_signal_that_a_second_gate_waits_for_can_be_given_when_the_first_has_given_up(
    database_url: str, signals: Signals, ledger: Ledger
) -> None:
    await gates(database_url, ledger, "yes")
    second = stored.node("n-second", kind=NodeKind.GATE)
    turn = Changes(stored.execution(1), nodes={"n-yes": gate_that_gave_up(), "n-second": second})
    turn.signals.append(SignalState("yes", "n-second", b"type", 9))
    ledger.commit(0, 1, [turn])
    assert (await signals.set_signal(EXECUTION, "yes", b"true", "", 50)).changed


def gate_that_gave_up() -> NodeState:
    return stored.node("n-yes", NodePhase.TIMED_OUT, kind=NodeKind.GATE)


async def test_signals_are_listed_in_order_of_creation(database_url: str, signals: Signals, ledger: Ledger) -> None:
    await gates(database_url, ledger, "b", "a")
    await gates(database_url, ledger, "c", key=2)

    async def listed(execution: int | ExecutionId | None, **asked: Any) -> list[str]:
        return [each.id for each in (await signals.list_signals(Query(**asked), execution)).items]

    assert await listed(EXECUTION) == await listed(1) == ["b", "a"]
    assert await listed(None) == ["b", "c", "a"]
    assert await listed(None, filters="eq(execution.name,e2)") == ["c"]
    assert await listed(EXECUTION, filters="eq(signal_id,a)") == ["a"]
    assert await listed(None, project="elsewhere") == await listed(NOBODY) == []
    page = await signals.list_signals(Query(limit=1), EXECUTION)
    assert ([each.id for each in page.items], page.token) == (["b"], "1")
    with pytest.raises(InvalidArgument, match="signals have no field"):
        await listed(EXECUTION, filters="eq(colour,red)")
