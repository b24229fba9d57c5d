"""What is registered, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store.query import Query
from libs.store.records import NamedId, ProjectRecord
from libs.store.registry import ACTIVE, INACTIVE, Kind, Registry
from libs.workflow.errors import AlreadyExists, InvalidArgument, NotFound
from tests.support import stored


@pytest.fixture
def registry(engine: AsyncEngine) -> Registry:
    return Registry(engine)


async def test_what_was_registered_is_found_whole(registry: Registry) -> None:
    await registry.create_task(stored.task())
    await registry.create_workflow(stored.workflow())
    await registry.create_launch_plan(stored.launch_plan())
    assert await registry.get_task(stored.task().id) == stored.task()
    assert await registry.get_workflow(stored.workflow().id) == stored.workflow()
    assert await registry.get_launch_plan(stored.launch_plan().id) == stored.launch_plan()


async def test_what_is_not_registered_is_not_found_by_its_name(registry: Registry) -> None:
    missing = stored.task().id
    with pytest.raises(NotFound, match=r"task flytesnacks:development:shop\.pack:v1"):
        await registry.get_task(missing)
    with pytest.raises(NotFound, match="workflow "):
        await registry.get_workflow(missing)
    with pytest.raises(NotFound, match="launch plan "):
        await registry.get_launch_plan(missing)


async def test_the_same_structure_again_already_exists(registry: Registry) -> None:
    await registry.create_task(stored.task())
    with pytest.raises(AlreadyExists):
        await registry.create_task(replace(stored.task(), spec=b"another spelling", created_at_us=9))
    assert await registry.get_task(stored.task().id) == stored.task()


async def test_another_structure_of_the_same_version_is_an_invalid_argument(registry: Registry) -> None:
    await registry.create_task(stored.task())
    with pytest.raises(InvalidArgument, match="different structure"):
        await registry.create_task(stored.restructured(stored.task()))
    assert await registry.get_task(stored.task().id) == stored.task()


async def test_concurrent_registrations_of_one_version_make_one_row(registry: Registry) -> None:
    answers = await asyncio.gather(*(registry.create_task(stored.task()) for _ in range(6)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["AlreadyExists"] * 5 + ["NoneType"]


async def test_lists_have_the_newest_first_and_page(registry: Registry) -> None:
    for number in range(5):
        await registry.create_task(stored.task(version=f"v{number}", created_at_us=number))
    first = await registry.list_tasks(Query(limit=2))
    assert [each.id.version for each in first.items] == ["v4", "v3"]
    second = await registry.list_tasks(Query(limit=2, token=first.token))
    last = await registry.list_tasks(Query(limit=2, token=second.token))
    assert [each.id.version for each in (*second.items, *last.items)] == ["v2", "v1", "v0"]
    assert last.token == ""


async def test_lists_are_narrowed_to_a_project_domain_and_name(registry: Registry) -> None:
    other = stored.task("shop.other")
    await registry.create_task(stored.task())
    await registry.create_task(other)
    await registry.create_task(replace(other, id=other.id._replace(domain="production")))
    found = await registry.list_tasks(Query("flytesnacks", "development", "shop.other"))
    assert [each.id for each in found.items] == [other.id]


async def test_workflow_lists_leave_the_closures_out(registry: Registry) -> None:
    await registry.create_workflow(stored.workflow())
    (found,) = (await registry.list_workflows(Query())).items
    assert (found.id, found.created_at_us, found.spec, found.closure) == (stored.workflow().id, 1_000, b"", b"")


async def test_names_are_listed_once_however_many_versions_they_have(registry: Registry) -> None:
    for name in ("b", "a", "c"):
        for version in ("v1", "v2"):
            await registry.create_launch_plan(stored.launch_plan(name, version))
    first = await registry.list_ids(Kind.LAUNCH_PLAN, Query("flytesnacks", "development", limit=2))
    assert first.items == [NamedId("flytesnacks", "development", name) for name in ("a", "b")]
    rest = await registry.list_ids(Kind.LAUNCH_PLAN, Query("flytesnacks", "development", limit=2, token=first.token))
    assert [each.name for each in rest.items] == ["c"]
    assert (await registry.list_ids(Kind.TASK, Query())).items == []


async def test_activating_a_version_deactivates_the_others(registry: Registry) -> None:
    plans = [stored.launch_plan(version=f"v{number}", created_at_us=number) for number in range(3)]
    for plan in (*plans, stored.launch_plan("another")):
        await registry.create_launch_plan(plan)
    await registry.activate_launch_plan(stored.launch_plan("another").id, 50)
    await registry.activate_launch_plan(plans[0].id, 51)
    await registry.activate_launch_plan(plans[1].id, 52)
    found = (await registry.list_launch_plans(Query(name="shop.sell", sort_key="version", descending=False))).items
    assert [(each.state, each.updated_at_us) for each in found] == [(INACTIVE, 52), (ACTIVE, 52), (INACTIVE, 2)]
    active = await registry.get_active_launch_plan("flytesnacks", "development", "shop.sell")
    assert active.id == plans[1].id
    both = await registry.list_launch_plans(Query(), active_only=True)
    assert {each.id.name for each in both.items} == {"shop.sell", "another"}


async def test_activating_the_active_version_changes_nothing(registry: Registry) -> None:
    plan = stored.launch_plan()
    await registry.create_launch_plan(plan)
    await registry.activate_launch_plan(plan.id, 51)
    await registry.activate_launch_plan(plan.id, 52)
    assert (await registry.get_launch_plan(plan.id)).updated_at_us == 51


async def test_concurrent_activations_leave_one_active_version(registry: Registry) -> None:
    plans = [stored.launch_plan(version=f"v{number}") for number in range(6)]
    for plan in plans:
        await registry.create_launch_plan(plan)
    await asyncio.gather(*(registry.activate_launch_plan(plan.id, 60) for plan in plans))
    found = (await registry.list_launch_plans(Query())).items
    assert sorted(each.state for each in found) == [INACTIVE] * 5 + [ACTIVE]


async def test_a_deactivated_version_leaves_no_active_one(registry: Registry) -> None:
    plan = stored.launch_plan()
    await registry.create_launch_plan(plan)
    await registry.activate_launch_plan(plan.id, 51)
    await registry.deactivate_launch_plan(plan.id, 52)
    with pytest.raises(NotFound, match="no active version"):
        await registry.get_active_launch_plan("flytesnacks", "development", "shop.sell")


async def test_an_unknown_version_cannot_be_activated(registry: Registry) -> None:
    await registry.create_launch_plan(stored.launch_plan())
    await registry.activate_launch_plan(stored.launch_plan().id, 51)
    with pytest.raises(NotFound, match="v9"):
        await registry.activate_launch_plan(stored.launch_plan(version="v9").id, 52)
    assert (await registry.get_launch_plan(stored.launch_plan().id)).state == ACTIVE


async def test_projects_are_created_once_and_listed(registry: Registry) -> None:
    shop = ProjectRecord("shop", "Shop", "Sells things", b"", 0, 5)
    await registry.create_project(shop)
    with pytest.raises(AlreadyExists):
        await registry.create_project(replace(shop, name="Other"))
    await registry.create_project(replace(shop, id="farm", created_at_us=6))
    assert await registry.get_project("shop") == shop
    assert [each.id for each in (await registry.list_projects(Query())).items] == ["shop", "farm"]
    assert [each.id for each in (await registry.list_projects(Query(filters="eq(identifier,farm)"))).items] == ["farm"]
    with pytest.raises(NotFound):
        await registry.get_project("mine")
