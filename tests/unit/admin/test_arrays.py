"""An array node over a task as the one task execution that flytekit looks for."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.admin import task_execution_pb2
from flyteidl.core import execution_pb2 as core

from libs.store.trees import Item
from libs.workflow.phases import AttemptPhase, CacheStatus, NodeKind, NodePhase
from services.admin import arrays
from services.admin.arrays import Array
from tests.support import stored

OWNER = stored.execution().id


def item(index: int, phase: NodePhase, attempt_phase: AttemptPhase | None = None, **changed: Any) -> Item:
    whole = Item(f"n{index}", phase, 0, CacheStatus.DISABLED, stored.TASK, attempt_phase, f"/logs/{index}")
    return whole._replace(**changed)


def shown(phase: NodePhase, *items: Item) -> task_execution_pb2.TaskExecution:
    node = stored.node("n0", phase, kind=NodeKind.ARRAY, task=None)
    return arrays.task_execution(OWNER, Array(node, stored.TASK, items), lambda uri: f"signed:{uri}")


@pytest.mark.parametrize("phase", NodePhase)
def test_an_array_has_a_phase_that_the_client_knows_in_every_phase_of_its_node(phase: NodePhase) -> None:
    known = {1, 2, 3, 4, 5, 6, 7}
    whole = shown(phase, item(0, phase), item(1, NodePhase.RUNNING, AttemptPhase.LOST))
    assert whole.closure.phase in known
    assert {resource.phase for resource in whole.closure.metadata.external_resources} <= known


def test_an_item_stands_where_its_attempt_does_until_it_has_ended() -> None:
    phases = core.TaskExecution
    found = shown(
        NodePhase.RUNNING,
        item(0, NodePhase.RUNNING, AttemptPhase.WAITING_FOR_RESOURCES),
        item(1, NodePhase.QUEUED, AttemptPhase.RETRYABLE_FAILED),
        item(2, NodePhase.SUCCEEDED, None, cache_status=CacheStatus.HIT),
        item(3, NodePhase.ABORTED, AttemptPhase.RUNNING),
        item(4, NodePhase.RECOVERED),
    ).closure.metadata.external_resources
    assert [resource.phase for resource in found] == [
        phases.WAITING_FOR_RESOURCES,
        phases.FAILED,
        phases.SUCCEEDED,
        phases.ABORTED,
        phases.SUCCEEDED,
    ]
    assert [resource.index for resource in found] == [0, 1, 2, 3, 4]
    assert found[0].logs[0].uri == "signed:/logs/0"


def test_a_hundred_thousand_items_fit_into_one_answer() -> None:
    items = [item(index, NodePhase.SUCCEEDED, AttemptPhase.SUCCEEDED) for index in range(100_000)]
    whole = shown(NodePhase.SUCCEEDED, *items)
    assert len(whole.closure.metadata.external_resources) == 100_000
    assert whole.ByteSize() < 20 * 1024 * 1024
