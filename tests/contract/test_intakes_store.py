"""Definitions of intakes, and what is counted of their executions, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.executions import Executions
from libs.store.intakes import Intakes
from libs.store.ledger import Ledger
from libs.workflow import intake
from libs.workflow.errors import AlreadyExists, NotFound
from libs.workflow.identity import EntityId
from libs.workflow.intake import Codec, Intake, IntakeId, Kind
from libs.workflow.phases import ExecutionPhase
from tests.support import stored

SALES = Intake(
    id=IntakeId("shop", "development", "sales"),
    source="redis://h:1/2/tasks",
    kind=Kind.STREAM,
    codec=Codec.LITERALS,
    launch_plan=EntityId("shop", "development", "shop.sell", "v1"),
    field="item",
    limit=7,
    tries=2,
    created_at_us=77,
)


@pytest.fixture
def intakes(engine: AsyncEngine) -> Intakes:
    return Intakes(engine)


async def test_a_definition_comes_back_as_it_was(intakes: Intakes) -> None:
    other = replace(SALES, codec=Codec.JSON, id_field="order", paused=True, id=SALES.id._replace(name="other"))
    for each in (SALES, other):
        await intakes.add(each)
        assert await intakes.get(each.id) == each


async def test_a_name_is_taken_once(intakes: Intakes) -> None:
    await intakes.add(SALES)
    with pytest.raises(AlreadyExists, match="shop:development:sales"):
        await intakes.add(replace(SALES, limit=8))
    assert (await intakes.get(SALES.id)).limit == 7


async def test_lists_are_of_a_project_and_domain_or_of_all(intakes: Intakes) -> None:
    other = replace(SALES, id=IntakeId("bank", "production", "loans"))
    for each in (SALES, other):
        await intakes.add(each)
    assert await intakes.list() == [other, SALES]
    assert await intakes.list("shop", "development") == [SALES]
    assert await intakes.list("shop", "production") == []


async def test_one_is_paused_and_resumed_and_removed(intakes: Intakes) -> None:
    await intakes.add(SALES)
    for paused in (True, True, False):
        await intakes.pause(SALES.id, paused)
        assert (await intakes.get(SALES.id)).paused is paused
    await intakes.remove(SALES.id)
    for failing in (intakes.get(SALES.id), intakes.pause(SALES.id, True), intakes.remove(SALES.id)):
        with pytest.raises(NotFound, match="shop:development:sales"):
            await failing


async def test_pending_are_its_executions_that_are_not_final(
    intakes: Intakes, engine: AsyncEngine, database_url: str
) -> None:
    executions = Executions(engine)
    first = stored.execution(1)
    mine = IntakeId(first.id.project, first.id.domain, "sales")
    tags = {1: intake.tag(mine), 2: intake.tag(mine), 3: intake.tag(mine), 4: "intake:other", 5: ""}
    for key, tag in tags.items():
        await executions.create(stored.record(key, f"e{key}"), [(tag, "")] if tag else [])
    assert await intakes.pending(mine) == 3
    assert await intakes.pending(mine._replace(domain="production")) == 0
    ledger = Ledger(database_url)
    epoch = ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)
    ledger.commit(0, epoch, [stored.ended(stored.execution(1), ExecutionPhase.FAILED)])
    ledger.commit(0, epoch, [stored.running(stored.execution(2))])
    ledger.close()
    assert await intakes.pending(mine) == 2
    await executions.close()
