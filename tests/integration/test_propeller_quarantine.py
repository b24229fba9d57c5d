"""An execution that cannot be stored is set aside; who waits for it and what it has launched hear of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flyteidl.core import execution_pb2

from libs.store.ledger import QUARANTINED, Ledger
from libs.workflow.errors import Refused
from libs.workflow.phases import ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import Changes
from services.standalone.etcd import EtcdServer
from tests.support.flytetypes import INTEGER
from tests.support.propelling import Fleet, Instant
from tests.support.templates import node, plan_node, workflow
from tests.support.waiting import until

X, RESULT = {"x": INTEGER}, {"o": INTEGER}
CHILD = workflow(node("n0", "slow", x="x"), name="child", inputs=X, outputs=RESULT, returns={"o": "n0.o"})
PARENT = workflow(
    plan_node("n0", "child", x="x"),
    node("n1", "add", x="x"),
    name="parent",
    inputs=X,
    outputs=RESULT,
    returns={"o": "n0.o"},
)


class Choosy(Ledger):
    """Refuses what executions of one workflow do once a task of theirs has succeeded."""

    def __init__(self, url: str, workflow_name: str) -> None:
        super().__init__(url)
        self._workflow = workflow_name

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        for changes in batch:
            tasks = (state for state in changes.nodes.values() if state.kind is NodeKind.TASK)
            ended = any(state.phase is NodePhase.SUCCEEDED for state in tasks)
            if changes.execution.workflow.name == self._workflow and ended:
                raise Refused("the test does not take these rows")
        super().commit(shard, epoch, batch)

    async def commit_on_loop(self, shard: int, epoch: int, batch: Sequence[Changes]) -> bool:
        self.commit(shard, epoch, batch)
        return True


async def test_the_parent_of_an_execution_that_is_set_aside_fails_with_its_error(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(open_ledger=lambda: Choosy(database_url, "child"), sweep_seconds=600.0)
        fleet.executor(Instant())
        await fleet.register_workflows(CHILD, PARENT)
        await fleet.start_workflow(PARENT, 1, x=1)
        await fleet.until(ExecutionPhase.FAILED, 1)
        error = execution_pb2.ExecutionError.FromString((await fleet.execution(1)).error or b"")
        assert error.code == QUARANTINED
        assert "the test does not take these rows" in error.message
        assert (await fleet.execution(await fleet.child_of(1, "n0"))).phase is ExecutionPhase.FAILED


async def test_what_an_execution_that_is_set_aside_has_launched_is_aborted(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    processes = Instant(held_back=frozenset({"slow", "add"}))
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(open_ledger=lambda: Choosy(database_url, "parent"), sweep_seconds=600.0)
        fleet.executor(processes)
        await fleet.register_workflows(CHILD, PARENT)
        await fleet.start_workflow(PARENT, 1, x=1)
        child = await fleet.child_of(1, "n0")
        await until(lambda: len(processes.held) == 2, "the tasks of parent and child")
        for prefix, ending in zip(processes.starts, processes.held, strict=True):
            if "/n1/" in prefix:
                ending.set()
        await fleet.until(ExecutionPhase.FAILED, 1)
        await fleet.until(ExecutionPhase.ABORTED, child)
        assert (await fleet.executions.get_node(child, "n0")).phase is NodePhase.ABORTED
