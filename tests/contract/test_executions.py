"""Executions from admin's side, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.records import AbortAnswer
from libs.workflow.errors import AlreadyExists, FailedPrecondition, NotFound, Refused
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase, NodePhase
from libs.workflow.state import AbortBelow, Changes, Intent
from tests.support import stored


@pytest_asyncio.fixture
async def executions(engine: AsyncEngine) -> AsyncIterator[Executions]:
    executions = Executions(engine)
    yield executions
    await executions.close()


def statements_of(engine: AsyncEngine) -> list[str]:
    """Fills with every statement that the engine executes from now on."""
    statements: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    return statements


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


async def test_concurrent_submissions_share_commits(executions: Executions) -> None:
    await asyncio.gather(*(executions.create(stored.record(key)) for key in range(300)))
    assert executions.transactions <= 3
    assert len(await executions.get_by_key(range(300))) == 300


async def test_one_after_the_other_is_as_durable_and_as_strict_as_many(executions: Executions) -> None:
    for key in range(1, 5):
        await executions.create(stored.record(key, f"e{key}"), [("colour", "red")])
    with pytest.raises(AlreadyExists):
        await executions.create(stored.record(5, "e1"))
    with pytest.raises(Refused):
        await executions.create(stored.record(1, "key-is-taken"))
    with pytest.raises(Refused):
        await executions.create(stored.record(6, traceparent="a lone surrogate: \udcff"))
    await executions.create(stored.record(7, "e7"))
    assert [each.execution.key for each in await executions.get_by_key(range(1, 8))] == [1, 2, 3, 4, 7]
    red = await executions.list(Query(filters="eq(execution_tag.key,colour)+eq(execution_tag.value,red)"))
    assert len(red.items) == 4


async def test_many_at_once_each_have_an_answer_of_their_own(executions: Executions) -> None:
    await executions.create(stored.record(1, "mine"), [("colour", "red")])
    many = [
        (stored.record(2, "mine"), [("colour", "blue")]),
        (stored.record(3, "new"), [("colour", "blue"), ("", "size"), ("colour", "blue")]),
        (stored.record(1, "key-is-taken"), [("colour", "blue")]),
        (stored.record(4, "bad", traceparent="a lone surrogate: \udcff"), []),
        (stored.record(5, "twice"), []),
        (stored.record(6, "twice"), []),
        (stored.record(7, "orphan", parent_key=404), []),
    ]
    assert [type(verdict) for verdict in await executions.create_many(many)] == [
        AlreadyExists,
        type(None),
        Refused,
        Refused,
        type(None),
        AlreadyExists,
        type(None),
    ]
    assert [each.execution.key for each in await executions.get_by_key(range(1, 8))] == [1, 3, 5, 7]
    blue = await executions.list(Query(filters="eq(execution_tag.key,colour)+eq(execution_tag.value,blue)"))
    assert [each.execution.key for each in blue.items] == [3]


async def test_more_than_fit_into_one_transaction_are_stored_in_several(executions: Executions) -> None:
    many = [(stored.record(key), [("colour", "red")]) for key in range(1, 1202)]
    assert set(await executions.create_many(many)) == {None}
    assert executions.transactions == 3
    assert len(await executions.get_by_key(range(1, 1202))) == 1201


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
        executions.list_attempts_of_items(Query(), record.execution.id, "n0"),
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


async def test_items_of_an_array_node_come_in_their_order_with_their_latest_attempt(
    executions: Executions, ledger: Ledger
) -> None:
    record = stored.record(5)
    await executions.create(record)
    ids = [f"n1-0-n{number}" for number in (10, 9, 2, 0, 1)]
    others = [
        stored.node("n1"),
        stored.node("n10-0-n0", parent_id="n10"),
        stored.node("n1-0-n0-0-n0", parent_id=ids[3]),
    ]
    items = [stored.node(id, parent_id="n1", attempt=int(id == "n1-0-n2")) for id in ids]
    attempts = {(id, number): stored.attempt(id, number) for id, number in ((ids[0], 0), (ids[2], 0), (ids[2], 1))}
    turn = stored.with_nodes(record.execution, *items, *others)
    turn.attempts.update(attempts)
    ledger.commit(0, 1, [turn])
    for named in (5, record.execution.id):
        found = (await executions.list_attempts_of_items(Query(), named, "n1")).items
        assert [(each.node.id, each.attempt) for each in found] == [
            ("n1-0-n0", None),
            ("n1-0-n1", None),
            ("n1-0-n2", attempts["n1-0-n2", 1]),
            ("n1-0-n9", None),
            ("n1-0-n10", attempts["n1-0-n10", 0]),
        ]
    page = await executions.list_attempts_of_items(Query(limit=2, token="2"), 5, "n1")
    assert ([each.node.id for each in page.items], page.token) == (["n1-0-n2", "n1-0-n9"], "4")


@pytest.mark.parametrize(
    "phase", [ExecutionPhase.FAILING, ExecutionPhase.ABORTING, *(each for each in ExecutionPhase if each.terminal)]
)
async def test_nothing_is_launched_by_an_execution_that_ends_or_has_ended(
    executions: Executions, ledger: Ledger, phase: ExecutionPhase
) -> None:
    parent = stored.record(1)
    await executions.create(parent)
    ledger.commit(0, 1, [stored.ended(parent.execution, phase)])
    answers = await asyncio.gather(
        executions.create(stored.record(2, parent_key=1)), executions.create(stored.record(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [FailedPrecondition, type(None)]
    assert [each.execution.key for each in await executions.get_by_key([2, 3])] == [3]


async def test_what_a_running_execution_launches_has_it_as_its_parent(executions: Executions, ledger: Ledger) -> None:
    parent = stored.record(1)
    await executions.create(parent)
    ledger.commit(0, 1, [stored.running(parent.execution)])
    await executions.create(stored.record(2, parent_key=1, recovers_key=7))
    found = (await executions.get_by_key([2]))[0].execution
    assert (found.parent_key, found.recovers_key) == (1, 7)
    await executions.request_abort(parent.execution.id, "enough", "")
    with pytest.raises(FailedPrecondition, match="launches nothing more"):
        await executions.create(stored.record(3, parent_key=1))


async def test_an_abort_that_is_decided_while_a_child_is_submitted_reaches_the_child_or_the_child_is_refused(
    postgres_url: str,
) -> None:
    await stored.submit(postgres_url, stored.record(1))
    ledger = Ledger(postgres_url)
    ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)
    turn = stored.running(stored.execution(1), phase=ExecutionPhase.FAILING)
    turn.aborts.append(AbortBelow("the parent failed", ""))
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as blocker:
        executions = Executions(open_async(postgres_url))
        async with blocker.transaction():
            # Holds the submission up where it has looked at its parent and has not committed yet.
            await blocker.execute("LOCK TABLE execution_tags IN EXCLUSIVE MODE")
            submitting = asyncio.create_task(
                executions.create(stored.record(2, parent_key=1), [("colour", "red")]), name="submitting"
            )
            await until_somebody_waits(postgres_url)
            deciding = asyncio.create_task(asyncio.to_thread(ledger.commit, 0, 1, [turn]), name="deciding")
            await until_somebody_waits(postgres_url, how_many=2)
        await asyncio.gather(submitting, deciding)
    assert ledger.intents([2])[2].desired is Desired.ABORT
    ledger.close()
    await executions.close()


async def until_somebody_waits(url: str, how_many: int = 1) -> None:
    """Returns when so many connections wait for another one's lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            found = await (await connection.execute(waiting)).fetchone()
            if found is not None and found[0] >= how_many:
                return
