"""Why executions wait and why they have failed: from rows alone, and with what a real leader adds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from flyteidl.admin import execution_pb2
from flyteidl.core import tasks_pb2

from libs.clients.propeller import Propellers
from libs.runtime.clock import SystemClock
from libs.store.engine import open_async
from libs.store.query import Query
from libs.store.registry import Registry
from libs.store.stories import Stories
from libs.store.trees import Trees
from libs.workflow.errors import NotFound
from libs.workflow.phases import AttemptPhase, ExecutionPhase
from services.admin.causes import Cause, Code
from services.admin.explain import Explainer, Explanation
from services.standalone.etcd import EtcdServer
from tests.support import kinds
from tests.support.flytetypes import INTEGER
from tests.support.kinds import signalled
from tests.support.propelling import Fleet, Instant
from tests.support.templates import node, plan_node, workflow

pytestmark = pytest.mark.timeout(60)

X, RESULT = {"x": INTEGER}, {"o": INTEGER}
SLOW = workflow(node("n0", "slow", x="x"), name="slow", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
CHILD = workflow(plan_node("n0", "slow", x="x"), name="child", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
GATED = workflow(
    signalled("n0", "go"), node("n1", "add", x="n0.o"), name="gated", inputs=X, outputs=RESULT, returns={"o": "n1.o"}
)
FAILS = workflow(node("n0", "fail", x="x"), name="fails", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
ABOVE = workflow(plan_node("n0", "fails", x="x"), name="above", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
TWO = workflow(
    node("n0", "slow", x="x"),
    node("n1", "slow", x="x"),
    name="two",
    inputs=X,
    outputs=RESULT,
    returns={"o": "n0.o"},
)


class Asked:
    """A fleet, and the explainer that reads its database."""

    def __init__(self, fleet: Fleet, explainer: Explainer, stories: Stories) -> None:
        self.fleet = fleet
        self._explainer = explainer
        self.stories = stories

    async def explain(self, key: int, node_id: str = "") -> Explanation:
        return await self._explainer.explain((await self.fleet.execution(key)).id, node_id)

    async def until(self, key: int, code: Code, node_id: str = "") -> Cause:
        """Waits until this is among the causes, at any depth."""
        while True:
            found = await self.explain(key, node_id)
            for cause in _all(found.causes):
                if cause.code is code:
                    return cause
            await asyncio.sleep(0.02)


def _all(causes: Sequence[Cause]) -> list[Cause]:
    return [each for cause in causes for each in (cause, *_all(cause.causes))]


def codes(found: Explanation) -> list[Code]:
    return [cause.code for cause in found.causes]


@asynccontextmanager
async def asked(tmp_path: Path, database: str, etcd: EtcdServer) -> AsyncIterator[Asked]:
    async with Fleet(tmp_path, database, etcd.endpoint) as fleet, Propellers() as propellers:
        engine = open_async(database)
        fleet.queue()
        stories = Stories(engine)
        explainer = Explainer(fleet.executions, stories, Trees(engine), Registry(engine), propellers, SystemClock())
        try:
            yield Asked(fleet, explainer, stories)
        finally:
            await engine.dispose()


def large(template: tasks_pb2.TaskTemplate) -> None:
    template.container.resources.requests.add(name=tasks_pb2.Resources.CPU, value="128")


async def test_a_task_that_is_too_large_for_every_executor_says_so_with_the_leader_and_without(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with asked(tmp_path, sqlite_url, etcd) as it:
        propeller = it.fleet.propeller()
        it.fleet.executor(Instant())
        await it.fleet.register_workflows(SLOW, change=large)
        await it.fleet.start_workflow(SLOW, 1, x=1)
        cause = await it.until(1, Code.NO_FITTING_EXECUTOR)
        assert cause.node_id == "n0"
        assert cause.facts["asked"].startswith("128 cpu")
        assert "e1 has 64 cpu" in cause.sentence
        while not (await it.stories.attempts(1, ["n0"]))[0].reason:  # it is told after a while
            await asyncio.sleep(0.05)
        await propeller.stop()
        found = await it.explain(1)
        assert not found.live
        assert codes(found) == [Code.NO_FITTING_EXECUTOR, Code.NO_LEADER]
        events = (await it.stories.events(1, Query())).items
        assert [event.message for event in events if event.kind == "AttemptWaits"] == [
            f"NoFittingExecutor: {cause.sentence}"
        ]


async def test_an_attempt_says_that_nobody_is_there_to_run_it_and_runs_when_somebody_comes(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with asked(tmp_path, sqlite_url, etcd) as it:
        await it.fleet.register_workflows(SLOW)
        await it.fleet.start_workflow(SLOW, 1, x=1)
        assert codes(await it.explain(1)) == [Code.NO_LEADER, Code.NOT_BEGUN]
        it.fleet.propeller()
        assert (await it.until(1, Code.NO_EXECUTOR)).sentence == "no executor is connected"
        it.fleet.executor(Instant(hold=True))
        cause = await it.until(1, Code.RUNNING)
        assert cause.facts == {"executor": "e1"}
        assert (await it.stories.attempts(1, ["n0"]))[0].reason == ""


async def test_whoever_waits_for_a_slot_knows_who_is_before_it(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with asked(tmp_path, sqlite_url, etcd) as it:
        it.fleet.propeller(project_limits={"p": "2"})
        it.fleet.executor(Instant(hold=True), cpu_millis=1000)
        await it.fleet.register_workflows(SLOW)
        await it.fleet.start_workflow(SLOW, 1, x=1)
        await it.until(1, Code.RUNNING)
        for key in (2, 3):
            await it.fleet.start_workflow(SLOW, key, x=1)
            await it.until(key, Code.QUEUED)
        assert (await it.until(2, Code.QUEUED)).facts["ahead"] == "0"
        assert (await it.until(3, Code.QUEUED)).facts["ahead"] == "1"
        it.fleet.executor(Instant(hold=True), name="e2")
        await it.until(2, Code.RUNNING)
        cause = await it.until(3, Code.PROJECT_LIMIT)
        assert (cause.facts["running_of_project"], cause.facts["limit"]) == ("2", "2")


async def test_a_launched_execution_explains_its_parent(tmp_path: Path, sqlite_url: str, etcd: EtcdServer) -> None:
    async with asked(tmp_path, sqlite_url, etcd) as it:
        it.fleet.propeller()
        it.fleet.executor(Instant(hold=True))
        await it.fleet.register_workflows(SLOW, CHILD)
        await it.fleet.start_workflow(CHILD, 1, x=1)
        await it.until(1, Code.RUNNING)
        (cause,) = (await it.explain(1, "n0")).causes
        assert cause.code is Code.CHILD
        assert [inner.code for inner in cause.causes] == [Code.RUNNING]
        assert str(cause.causes[0].execution) == cause.facts["child"]


async def test_a_gate_says_which_signal_it_waits_for_and_what_comes_after_it_that_it_waits_for_the_gate(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with asked(tmp_path, sqlite_url, etcd) as it:
        it.fleet.propeller()
        await it.fleet.register_workflows(GATED)
        await it.fleet.start_workflow(GATED, 1, x=1)
        cause = await it.until(1, Code.SIGNAL)
        assert cause.facts == {"signal": "go"}
        assert "airscrew signal" in cause.sentence
        found = await it.explain(1, "n1")
        assert (found.phase, codes(found)) == ("WAITING", [Code.UPSTREAM])
        assert [inner.code for inner in found.causes[0].causes] == [Code.SIGNAL]
        with pytest.raises(NotFound, match="n9"):
            await it.explain(1, "n9")


async def test_a_failure_is_followed_to_the_attempt_that_failed(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with asked(tmp_path, sqlite_url, etcd) as it:
        it.fleet.propeller()
        it.fleet.executor(Instant())
        await it.fleet.register_workflows(FAILS, ABOVE)
        await it.fleet.start_workflow(ABOVE, 1, x=1)
        await it.fleet.until(ExecutionPhase.FAILED, 1)
        (cause,) = (await it.explain(1)).causes
        chain = _all([cause])
        assert [each.code for each in chain] == [Code.NODE_FAILED, Code.NODE_FAILED, Code.ATTEMPT_FAILED]
        assert [each.execution == chain[0].execution for each in chain] == [True, False, False]
        assert chain[2].facts["phase"] == AttemptPhase.FAILED.name
        events = [(event.kind, event.node_id) for event in (await it.stories.events(1, Query())).items]
        assert events == [
            ("ExecutionStarted", ""),
            ("ChildLaunched", "n0"),
            ("ChildEnded", "n0"),
            ("NodeFailed", "n0"),
            ("ExecutionFailed", ""),
        ]


async def test_what_max_parallelism_holds_back_says_so(tmp_path: Path, sqlite_url: str, etcd: EtcdServer) -> None:
    async with asked(tmp_path, sqlite_url, etcd) as it:
        it.fleet.propeller(sweep_seconds=0.1)
        it.fleet.executor(Instant(hold=True))
        await it.fleet.register_workflows(TWO)
        record = kinds.submission(TWO, 1, x=1)
        spec = execution_pb2.ExecutionSpec.FromString(record.execution.spec)
        spec.max_parallelism = 1
        await it.fleet.executions.create(
            replace(record, execution=replace(record.execution, spec=spec.SerializeToString()))
        )
        cause = await it.until(1, Code.MAX_PARALLELISM)
        assert cause.facts == {"running": "1", "limit": "1"}


async def test_the_story_of_an_attempt_is_told_in_order_and_in_pages(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    async with asked(tmp_path, database_url, etcd) as it:
        it.fleet.propeller()
        it.fleet.executor(Instant())
        await it.fleet.register_workflows(SLOW)
        await it.fleet.start_workflow(SLOW, 1, x=1)
        await it.fleet.until(ExecutionPhase.SUCCEEDED, 1)
        whole = (await it.stories.events(1, Query())).items
        assert [event.kind for event in whole] == [
            "ExecutionStarted",
            "AttemptPlaced",
            "AttemptStarted",
            "AttemptSucceeded",
            "ExecutionSucceeded",
        ]
        first = await it.stories.events(1, Query(limit=2))
        rest = await it.stories.events(1, Query(token=first.token))
        assert [*first.items, *rest.items] == list(whole)
        assert len((await it.stories.events(1, Query(), "n0")).items) == 3
