"""Flyte's filters, sort keys and tokens against rows, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.registry import Registry
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from libs.workflow.state import Changes
from tests.support import stored

SECOND = 1_000_000


@pytest_asyncio.fixture
async def executions(engine: AsyncEngine, database_url: str) -> AsyncIterator[Executions]:
    """Five executions:

    1 queued · 2 running, of another workflow · 3 succeeded after 90 s · 4 queued, to be aborted · 5 failed, of a task
    """
    executions = Executions(engine)
    other = EntityId("flytesnacks", "development", "shop.Buy_100%", "v2")
    records = {
        1: stored.record(1, "a1", created_at_us=1 * SECOND),
        2: stored.record(2, "b2", created_at_us=2 * SECOND, workflow=other, launch_plan=other),
        3: stored.record(3, "c3", created_at_us=3 * SECOND),
        4: stored.record(4, "d4", created_at_us=4 * SECOND),
        5: stored.record(5, "e5", created_at_us=5 * SECOND, launch_plan=stored.TASK, resource_type=stored.SINGLE_TASK),
    }
    tags = {1: [("team", "red"), ("urgent", "")], 2: [("team", "blue")], 3: [("eager", "red"), ("team", "blue")]}
    for key, record in records.items():
        await executions.create(record, tags.get(key, ()))
    await executions.request_abort(records[4].execution.id, "enough of it", "anna")
    failed = stored.ended(records[5].execution, ExecutionPhase.FAILED)
    succeeded = stored.ended(records[3].execution)
    succeeded.execution.started_at_us, succeeded.execution.ended_at_us = 10 * SECOND, 100 * SECOND
    ledger = Ledger(database_url)
    epoch = ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)
    ledger.commit(0, epoch, [stored.running(records[2].execution), succeeded, failed])
    ledger.close()
    yield executions
    await executions.close()


async def keys(executions: Executions, filters: str = "", **asked: object) -> Sequence[int]:
    found = await executions.list(Query(filters=filters, sort_key="created_at", descending=False, **asked))  # type: ignore[arg-type]
    return [each.execution.key for each in found.items]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("eq(name,b2)", [2]),
        ("eq(name, b2)", [2]),
        ("eq(execution.name,b2)", [2]),
        ("ne(name,b2)", [1, 3, 4, 5]),
        ("gt(name,b2)", [3, 4, 5]),
        ("gte(name,b2)+lt(name,d4)", [2, 3]),
        ("lte(name,b2)", [1, 2]),
        ("value_in(name,a1;c3;zz)", [1, 3]),
        ("value_not_in(name,a1;c3)", [2, 4, 5]),
        ("eq(phase,SUCCEEDED)", [3]),
        ("eq(phase,4)", [3]),
        ("eq(phase,failed)", [5]),
        ("value_in(phase,UNDEFINED;QUEUED;RUNNING)", [1, 2]),
        ("eq(phase,ABORTING)", [4]),
        ("ne(phase,QUEUED)", [2, 3, 4, 5]),
        ("contains(workflow.name,Buy)", [2]),
        ("contains(workflow.name,buy)", []),
        ("contains(workflow.name,_100%)", [2]),
        ("contains(workflow.name,o)", [1, 2, 3, 4, 5]),
        ("not_like(workflow.name,%Buy%)", [1, 3, 4, 5]),
        ("eq(workflow.version,v2)", [2]),
        ("eq(launch_plan.name,shop.sell)", [1, 3, 4]),
        ("eq(task.name,shop.pack)", [5]),
        ("eq(launch_plan.name,shop.pack)", []),
        ("gt(created_at,1970-01-01T00:00:03Z)", [4, 5]),
        ("gte(created_at,1970-01-01T00:00:03.000000000Z)", [3, 4, 5]),
        ("eq(created_at,1970-01-01T01:00:03+01:00)", [3]),
        ("lt(created_at,1970-01-01T01:00:03+01:00)+gt(execution_created_at,1970-01-01T00:00:01Z)", [2]),
        ("gt(duration,60)", [3]),
        ("gt(duration,1m29.5s)", [3]),
        ("gt(duration,1h)", []),
        ("eq(user,anna)", [1, 2, 3, 4, 5]),
        ("eq(mode,MANUAL)", [1, 2, 3, 4, 5]),
        ("eq(state,0)", [1, 2, 3, 4, 5]),
        ("eq(state,ARCHIVED)", []),
        ("contains(abort_cause,of)", [4]),
        ("eq(execution_tag.key,team)", [1, 2, 3]),
        ("eq(execution_tag.key,team)+eq(execution_tag.value,blue)", [2, 3]),
        # Both conditions hold for one tag together: 3 has the value on another key.
        ("value_in(execution_tag.key,team)+value_in(execution_tag.value,red)", [1]),
        ("eq(admin_tag.name,urgent)", [1]),
        ("eq(execution_tag.key,team)+eq(phase,QUEUED)", [1]),
        ("eq(name,'; DROP TABLE executions; --)", []),
    ],
)
async def test_filters_find_what_they_say(executions: Executions, filters: str, found: list[int]) -> None:
    assert await keys(executions, filters) == found


async def test_the_request_narrows_beside_the_filters(executions: Executions) -> None:
    assert await keys(executions, "ne(name,a1)", project="flytesnacks", domain="development", limit=2) == [2, 3]
    assert await keys(executions, project="elsewhere") == []


async def test_every_row_is_on_exactly_one_page(executions: Executions) -> None:
    seen, token = [], ""
    while True:
        page = await executions.list(Query(limit=2, token=token, sort_key="phase", descending=True))
        seen += [each.execution.key for each in page.items]
        token = page.token
        if not token:
            break
    assert sorted(seen) == [1, 2, 3, 4, 5]


async def test_the_last_page_has_no_token_even_when_it_is_full(executions: Executions) -> None:
    assert (await executions.list(Query(limit=5))).token == ""
    assert (await executions.list(Query(limit=4))).token == "4"
    assert (await executions.list(Query(limit=4, token="100"))).items == []


async def test_without_a_sort_key_the_newest_come_first(executions: Executions) -> None:
    page = await executions.list(Query(descending=False))
    assert [each.execution.key for each in page.items] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(("descending", "found"), [(True, [3, 2]), (False, [2, 3])])
async def test_rows_without_the_sorted_value_come_last(
    executions: Executions, descending: bool, found: list[int]
) -> None:
    page = await executions.list(Query(sort_key="started_at", descending=descending))
    assert [each.execution.key for each in page.items][:2] == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Query(filters="eq(colour,red)"), "filters: executions have no field 'colour'"),
        (Query(filters="eq(node.phase,1)"), "no field 'node.phase'"),
        (Query(filters="near(name,x)"), "'near' is not a function"),
        (Query(filters="name=x"), "'name=x' is not of the form"),
        (Query(filters="eq(name,x)+"), "is not of the form"),
        (Query(filters="eq(phase,DONE)"), "phase: 'DONE' is not a name or its number: one of UNDEFINED, QUEUED"),
        (Query(filters="eq(phase,77)"), "phase: '77'"),
        (Query(filters="gt(created_at,yesterday)"), "created_at: 'yesterday' is not an RFC 3339 time"),
        (Query(filters="gt(created_at,2026-01-01T00:00:00)"), "time zone"),
        (Query(filters="gt(duration,long)"), "duration: 'long' is not seconds"),
        (Query(filters="contains(phase,QUEUED)"), "phase: contains needs a field of texts"),
        (Query(filters="eq(name,a\0b)"), "NUL"),
        (Query(sort_key="colour"), "sort_by.key: executions have no field 'colour'"),
        (Query(sort_key="execution_tag.key"), "sort_by.key: executions cannot be sorted by execution_tag.key"),
        (Query(limit=-1), "limit: -1"),
        (Query(limit=10_001), "limit: 10001"),
        (Query(token="abc"), "token: 'abc'"),
        (Query(token="-1"), "token: '-1'"),
        (Query(token="9" * 30), "token: "),
        (Query(token="²"), "token: "),
    ],
)
async def test_a_wrong_request_is_refused_by_name_and_reason(
    executions: Executions, asked: Query, message: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await executions.list(asked)
    assert message in refused.value.message


async def test_nodes_and_attempts_are_filtered_by_what_clients_see(executions: Executions, database_url: str) -> None:
    nodes = {
        id: stored.node(id, phase, created_at_us=number)
        for number, (id, phase) in enumerate(
            {"n0": NodePhase.RECOVERED, "n1": NodePhase.SUCCEEDED, "n2": NodePhase.RUNNING}.items()
        )
    }
    phases = [AttemptPhase.RETRYABLE_FAILED, AttemptPhase.LOST, AttemptPhase.REJECTED, AttemptPhase.RUNNING]
    attempts = {("n2", number): stored.attempt("n2", number, phase) for number, phase in enumerate(phases)}
    ledger = Ledger(database_url)
    ledger.commit(0, 1, [Changes(stored.execution(1), nodes=nodes, attempts=attempts)])
    ledger.close()

    async def of_nodes(filters: str) -> list[str]:
        return [each.id for each in (await executions.list_nodes(Query(filters=filters), 1)).items]

    async def of_attempts(filters: str) -> list[int]:
        return [each.attempt.attempt for each in (await executions.list_attempts(Query(filters=filters), 1)).items]

    assert await of_nodes("eq(phase,SUCCEEDED)") == ["n0", "n1"]
    assert await of_nodes("value_in(node_id,n1;n2)+ne(node_execution.phase,RUNNING)") == ["n1"]
    assert await of_attempts("eq(phase,FAILED)") == [0, 1]
    assert await of_attempts("eq(phase,ABORTED)") == [2]
    assert await of_attempts("gt(retry_attempt,1)+eq(task.name,shop.pack)") == [2, 3]
    with pytest.raises(InvalidArgument, match="retry_attempt: 'x' is not a whole number"):
        await of_attempts("eq(retry_attempt,x)")
    with pytest.raises(InvalidArgument, match="retry_attempt"):
        await of_attempts(f"eq(retry_attempt,{2**40})")


async def test_registered_entities_are_filtered_too(engine: AsyncEngine) -> None:
    registry = Registry(engine)
    for number in range(3):
        await registry.create_task(stored.task(version=f"v{number}", created_at_us=number))
        await registry.create_launch_plan(stored.launch_plan(version=f"v{number}"))
    await registry.activate_launch_plan(stored.launch_plan(version="v1").id, 9)
    tasks = await registry.list_tasks(Query(filters="eq(version,v1)+eq(type,python-task)"))
    assert [each.id.version for each in tasks.items] == ["v1"]
    plans = await registry.list_launch_plans(Query(filters="eq(state,ACTIVE)+eq(workflow.name,shop.sell)"))
    assert [each.id.version for each in plans.items] == ["v1"]
    with pytest.raises(InvalidArgument, match="workflows have no field 'type'"):
        await registry.list_workflows(Query(filters="eq(type,x)"))
