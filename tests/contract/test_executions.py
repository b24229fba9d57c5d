"""Executions from admin's side, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.records import AbortAnswer
from libs.workflow.errors import AlreadyExists, NotFound, Refused
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase, NodePhase
from libs.workflow.state import Changes, Intent
from tests.support import stored


@pytest_asyncio.fixture
async def executions(engine: AsyncEngine) -> AsyncIterator[Executions]:
    executions = Executions(engine)
    yield executions
    await executions.close()


@pytest.fixture
def ledger(database_url: str) -> Any:
    ledger = Ledger(database_url)
    ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)
    yield ledger
    ledger.close()


def statements_of(engine: AsyncEngine) -> list[str]:
    """Fills with every statement that the engine executes from now on."""
    statements: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    return statements


def commits_of(engine: AsyncEngine) -> list[object]:
    commits: list[object] = []
    event.listen(engine.sync_engine, "commit", commits.append)
    return commits


async def test_what_was_submitted_is_found_whole(executions: Executions) -> None:
    record = stored.record(7, resource_type=stored.SINGLE_TASK)
    await executions.create(record)
    assert await executions.get(record.execution.id) == record
    assert await executions.get_by_key([6, 7, 8]) == [record]


async def test_an_unknown_execution_is_not_found_by_its_name(executions: Executions) -> None:
    with pytest.raises(NotFound, match="flytesnacks:development:nobody"):
        await executions.get(ExecutionId("flytesnacks", "development", "nobody"))


async def test_a_name_that_is_taken_already_exists_and_stays_as_it_is(executions: Executions) -> None:
    await executions.create(stored.record(1, "mine"))
    with pytest.raises(AlreadyExists, match="mine"):
        await executions.create(stored.record(2, "mine", spec=b"other"))
    assert (await executions.get(stored.execution(1, "mine").id)).execution.key == 1


async def test_a_key_that_is_taken_is_refused(executions: Executions) -> None:
    await executions.create(stored.record(1, "mine"))
    with pytest.raises(Refused, match="mint another"):
        await executions.create(stored.record(1, "yours"))


async def test_of_two_concurrent_submissions_of_one_name_one_is_told_that_it_exists(executions: Executions) -> None:
    answers = await asyncio.gather(
        executions.create(stored.record(1, "mine")),
        executions.create(stored.record(2, "mine")),
        executions.create(stored.record(3, "yours")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers].count(AlreadyExists) == 1
    assert answers[2] is None
    assert len((await executions.list(Query())).items) == 2


async def test_of_two_processes_that_submit_the_same_names_each_name_has_one_winner(engine: AsyncEngine) -> None:
    first, second = Executions(engine), Executions(engine)
    names = [f"e{number}" for number in range(50)]
    answers = await asyncio.gather(
        *(first.create(stored.record(number, name)) for number, name in enumerate(names)),
        *(second.create(stored.record(100 + number, name)) for number, name in enumerate(reversed(names))),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers].count(AlreadyExists) == 50
    assert len((await first.list(Query())).items) == 50


async def test_concurrent_submissions_share_commits(engine: AsyncEngine, executions: Executions) -> None:
    commits = commits_of(engine)
    await asyncio.gather(*(executions.create(stored.record(key)) for key in range(300)))
    assert len(commits) <= 3
    assert len(await executions.get_by_key(range(300))) == 300


async def test_a_submission_that_cannot_be_stored_is_refused_alone(executions: Executions) -> None:
    answers = await asyncio.gather(
        executions.create(stored.record(1)),
        executions.create(stored.record(2, traceparent="a lone surrogate: \udcff")),
        executions.create(stored.record(3)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), Refused, type(None)]
    assert [each.execution.key for each in await executions.get_by_key([1, 2, 3])] == [1, 3]


async def test_a_caller_that_goes_away_takes_nobody_with_it(executions: Executions) -> None:
    gone = asyncio.create_task(executions.create(stored.record(1)), name="gone")
    stays = asyncio.create_task(executions.create(stored.record(2)), name="stays")
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert [each.execution.key for each in await executions.get_by_key([2])] == [2]


async def test_an_abort_raises_the_generation_and_shows_as_aborting(executions: Executions) -> None:
    record = stored.record(5, shard=3)
    await executions.create(record)
    assert await executions.request_abort(record.execution.id, "enough", "anna") == AbortAnswer(5, 3, True)
    found = await executions.get(record.execution.id)
    assert found.execution.intent == Intent(2, Desired.ABORT, "enough", "anna")
    assert (found.execution.phase, found.shown_phase) == (ExecutionPhase.QUEUED, ExecutionPhase.ABORTING)


async def test_a_second_abort_changes_nothing(executions: Executions) -> None:
    record = stored.record(5)
    await executions.create(record)
    await executions.request_abort(record.execution.id, "enough", "anna")
    assert await executions.request_abort(record.execution.id, "again", "bert") == AbortAnswer(5, 0, False)
    assert (await executions.get(record.execution.id)).execution.intent.abort_cause == "enough"


async def test_an_abort_of_a_finished_execution_changes_nothing(executions: Executions, ledger: Ledger) -> None:
    record = stored.record(5)
    await executions.create(record)
    ledger.commit(0, 1, [stored.ended(record.execution)])
    assert await executions.request_abort(record.execution.id, "late", "anna") == AbortAnswer(5, 0, False)
    assert await executions.get(record.execution.id) == record


async def test_an_abort_of_an_unknown_execution_is_not_found(executions: Executions) -> None:
    with pytest.raises(NotFound):
        await executions.request_abort(ExecutionId("p", "d", "nobody"), "", "")


async def test_nodes_are_listed_by_their_parent_in_order_of_creation(executions: Executions, ledger: Ledger) -> None:
    record = stored.record(5)
    await executions.create(record)
    turn = stored.with_nodes(
        record.execution,
        stored.node("start-node", created_at_us=1),
        stored.node("n1", created_at_us=2),
        stored.node("n0", created_at_us=3),
        stored.node("n1-0-n0", created_at_us=4, parent_id="n1"),
    )
    ledger.commit(0, 1, [turn])
    for named in (5, record.execution.id):
        top = await executions.list_nodes(Query(), named, parent="")
        assert [each.id for each in top.items] == ["start-node", "n1", "n0"]
        below = await executions.list_nodes(Query(), named, parent="n1")
        assert [each.id for each in below.items] == ["n1-0-n0"]
        assert len((await executions.list_nodes(Query(), named)).items) == 4
    assert await executions.get_node(5, "n1") == turn.nodes["n1"]
    with pytest.raises(NotFound, match="n9"):
        await executions.get_node(record.execution.id, "n9")
    assert (await executions.list_nodes(Query(), ExecutionId("p", "d", "nobody"))).items == []


async def test_attempts_come_with_their_node(executions: Executions, ledger: Ledger) -> None:
    record = stored.record(5)
    await executions.create(record)
    nodes = {id: stored.node(id) for id in ("n0", "n1")}
    attempts = {(id, number): stored.attempt(id, number) for id in nodes for number in range(2)}
    ledger.commit(0, 1, [Changes(record.execution, nodes=nodes, attempts=attempts)])
    found = await executions.list_attempts(Query(), record.execution.id, "n1")
    assert [(each.attempt, each.node) for each in found.items] == [
        (attempts["n1", 0], nodes["n1"]),
        (attempts["n1", 1], nodes["n1"]),
    ]
    assert len((await executions.list_attempts(Query(), 5)).items) == 4
    assert (await executions.get_attempt(5, "n0", 1)).attempt == attempts["n0", 1]
    with pytest.raises(NotFound, match="no attempt 2"):
        await executions.get_attempt(5, "n0", 2)


async def test_every_list_is_one_query(engine: AsyncEngine, executions: Executions) -> None:
    record = stored.record(5)
    await executions.create(record, tags=[("team", "a")])
    statements = statements_of(engine)
    query = Query(filters="eq(phase,QUEUED)+eq(execution_tag.key,team)", sort_key="created_at")
    for listing in (
        executions.list(query),
        executions.list_nodes(Query(), record.execution.id, ""),
        executions.list_attempts(Query(), record.execution.id, "n0"),
    ):
        statements.clear()
        await listing
        assert len([text for text in statements if text.lstrip().startswith("SELECT")]) == 1, statements


async def test_what_is_displayed_is_what_the_last_commit_left(executions: Executions, ledger: Ledger) -> None:
    record = stored.record(5)
    await executions.create(record)
    turn = stored.running(record.execution)
    turn.nodes["n0"] = stored.node("n0", NodePhase.QUEUED)
    ledger.commit(0, 1, [turn])
    assert (await executions.get(record.execution.id)).shown_phase is ExecutionPhase.RUNNING
    assert (await executions.get_node(5, "n0")).phase is NodePhase.QUEUED
