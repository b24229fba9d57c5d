"""What becomes of the nodes that a task asks for, and what the next leader finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import task_pb2
from flyteidl.core import compiler_pb2, dynamic_job_pb2, tasks_pb2

from libs import blob
from libs.workflow import compiler
from libs.workflow.backend import Backend
from libs.workflow.graph import DEFAULT_SLOTS, Graph, build
from libs.workflow.identity import EntityId
from libs.workflow.machine import Execution, new_execution, step
from libs.workflow.machine import messages as m
from services.propeller.assignments import Assignments
from services.propeller.dynamics import Dynamics
from services.propeller.graphs import Graphs
from services.propeller.store import LeaderStore
from tests.support import kinds, templates
from tests.support.flytetypes import INTEGER
from tests.support.memory_ledger import MemoryLedger, MemoryStore

PARENT = templates.workflow(
    templates.node("n0", "many", n="n"),
    name="dynamic",
    inputs={"n": INTEGER},
    outputs={"o": INTEGER},
    returns={"o": "n0.o"},
)


@dataclass
class Workshop:
    """Builds what the first node of an execution asks for; the stores are a folder and a dictionary."""

    root: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    backend: Backend = Backend.PROCESS
    told: asyncio.Queue[m.Event] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.blob = blob.open(str(self.root))
        store = LeaderStore(lambda: MemoryLedger(self.store))
        self.graphs = Graphs(store, self.blob, DEFAULT_SLOTS)
        self.dynamics = Dynamics(
            store, self.blob, self.graphs, Assignments(self.blob.root), self.tell, self.spawn, self.backend
        )
        self.tasks: list[asyncio.Task[None]] = []

    def tell(self, key: int, event: m.Event) -> None:
        self.told.put_nowait(event)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def built(self, futures: bytes | None) -> m.GraphBuilt:
        """What is told of these futures; None leaves none."""
        uri = self.blob.join("futures.pb")
        if futures is not None:
            await self.blob.write(uri, futures)
        self.dynamics.carry_out(running(), m.BuildGraph("n0", 0, uri))
        told = await asyncio.wait_for(self.told.get(), 10)
        assert isinstance(told, m.GraphBuilt)
        return told

    async def closure(self, uri: str) -> compiler_pb2.CompiledWorkflowClosure:
        return compiler_pb2.CompiledWorkflowClosure.FromString(await self.blob.read(uri))


def graph() -> Graph:
    return build(kinds.compiled(PARENT))


def running() -> Execution:
    """An execution whose dynamic node waits for its slot."""
    execution = new_execution(kinds.accepted(PARENT, 1, n=3), graph())
    step(execution, [], 1)
    return execution


async def test_the_nodes_are_compiled_and_lie_beside_the_attempts_outputs(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    told = await workshop.built(kinds.many(3).SerializeToString())
    assert told.closure_uri == f"{tmp_path}/metadata/propeller/p-d-e1/n0/data/0/dynamic_compiled.pb"
    assert told.graph is not None
    assert {"dn0", "dn1", "dn2", "dsum"} < set(told.graph.index)
    template = (await workshop.closure(told.closure_uri)).primary.template
    assert template.id.name == "dynamic_n0"
    assert [task.template.id.name for task in (await workshop.closure(told.closure_uri)).tasks] == ["add", "sum"]


async def test_the_same_attempt_is_built_the_same_by_every_leader(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    futures = kinds.many(2).SerializeToString()
    first = await workshop.closure((await workshop.built(futures)).closure_uri)
    assert first == await workshop.closure((await workshop.built(futures)).closure_uri)


async def test_containers_that_name_no_image_run_in_that_of_their_parent(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    spec = kinds.many(1)
    spec.tasks[1].container.image = "its-own"
    told = await workshop.built(spec.SerializeToString())
    tasks = [task.template for task in (await workshop.closure(told.closure_uri)).tasks]
    images = {task.id.name: task.container.image for task in tasks}
    assert images == {"add": "image", "sum": "its-own"}
    assert told.graph is not None
    assert told.graph.nodes[told.graph.index["dn0"]].image == "image"


async def test_a_task_that_asks_for_no_nodes_says_itself_what_it_returns(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    spec = dynamic_job_pb2.DynamicJobSpec(outputs=templates.bindings({"o": 7}))
    told = await workshop.built(spec.SerializeToString())
    assert told.graph is not None
    assert set(told.graph.index) == {"start-node", "end-node"}
    assert told.graph.nodes[told.graph.end].bindings == tuple(spec.outputs)


async def test_without_nodes_outputs_cannot_be_missing_or_come_from_nodes(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    missing = await workshop.built(dynamic_job_pb2.DynamicJobSpec().SerializeToString())
    assert (missing.graph, missing.error) == (None, "the task asks for no nodes, and does not say what o is")
    outputs = templates.bindings({"o": templates.list_of(templates.promise("n1.o"))})
    spec = dynamic_job_pb2.DynamicJobSpec(outputs=outputs)
    referring = await workshop.built(spec.SerializeToString())
    assert referring.graph is None
    assert "refers to nodes that it does not have" in referring.error


async def test_everything_that_is_wrong_is_told_together(tmp_path: Path) -> None:
    told = await Workshop(tmp_path).built(kinds.wrong(3).SerializeToString())
    assert told.graph is None
    for number in range(3):
        assert f"node dn{number}" in told.error


def of_gpus(task: tasks_pb2.TaskTemplate) -> None:
    task.extended_resources.gpu_accelerator.device = "nvidia-tesla-a100"


def of_another_kind(task: tasks_pb2.TaskTemplate) -> None:
    task.type = "spark"


def of_a_command(task: tasks_pb2.TaskTemplate) -> None:
    task.container.args[:] = ["cat"]


def misspelt(task: tasks_pb2.TaskTemplate) -> None:
    task.config["airscrew/retries"] = "2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_gpus, "tasks.add.extended_resources.gpu_accelerator: needs pods"),
        (of_another_kind, "task.type: tasks of type 'spark' are not built yet"),
        (of_a_command, "task.container.args: the command 'cat' is none of the SDK's"),
        (misspelt, "tasks.add.config[airscrew/retries]: there is no such option"),
    ],
)
async def test_what_would_be_refused_at_registration_is_refused_when_a_task_asks_for_it(
    tmp_path: Path, change: Callable[[tasks_pb2.TaskTemplate], None], said: str
) -> None:
    spec = kinds.many(2)
    change(spec.tasks[0])
    told = await Workshop(tmp_path).built(spec.SerializeToString())
    assert told.graph is None
    assert said in told.error


async def test_what_only_a_pod_can_run_is_built_where_tasks_are_pods(tmp_path: Path) -> None:
    spec = kinds.many(2)
    for change in (of_gpus, of_a_command):
        change(spec.tasks[0])
    told = await Workshop(tmp_path, backend=Backend.POD).built(spec.SerializeToString())
    assert (told.error, told.graph is not None) == ("", True)


async def test_overrides_that_would_be_refused_are_refused_in_nodes_that_a_task_asks_for(tmp_path: Path) -> None:
    spec = kinds.many(2)
    spec.nodes[1].task_node.overrides.extended_resources.shared_memory.size_limit = "1Gi"
    told = await Workshop(tmp_path).built(spec.SerializeToString())
    assert told.graph is None
    assert "nodes.dn1.task_node.overrides.extended_resources.shared_memory: " in told.error


async def test_what_is_no_specification_or_is_not_there_is_an_error_of_the_node(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    absent = await workshop.built(None)
    assert absent.graph is None
    assert "futures.pb" in absent.error
    corrupt = await workshop.built(b"\xff\xff\xff")
    assert corrupt.graph is None
    assert "is no specification of nodes" in corrupt.error


async def test_launch_plans_and_workflows_that_are_only_named_are_looked_up(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    child = templates.workflow(
        templates.node("n0", "add", x="x"),
        name="child",
        inputs={"x": INTEGER},
        outputs={"o": INTEGER},
        returns={"o": "n0.o"},
    )
    plan = kinds.launch_plan(child)
    workshop.store.programs[EntityId("p", "d", "child", "v")] = kinds.compiled(child).SerializeToString()
    workshop.store.plans[plan.id] = plan
    spec = dynamic_job_pb2.DynamicJobSpec(
        nodes=[templates.plan_node("dn0", "child", x=1), templates.sub_node("dn1", "child", x="dn0.o")],
        outputs=templates.bindings({"o": "dn1.o"}),
    )
    told = await workshop.built(spec.SerializeToString())
    assert told.error == ""
    assert told.graph is not None
    target = told.graph.nodes[told.graph.index["dn0"]].launch_plan
    assert target is not None
    assert (target.id, target.outputs) == (plan.id, ("o",))
    inner = told.graph.nodes[told.graph.index["dn1"]].graph
    assert inner is not None
    assert "n0" in inner.index


async def test_tasks_that_are_only_named_are_looked_up(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    compiled = compiler_pb2.CompiledTask(template=kinds.task("add"))
    id = EntityId("p", "d", "add", "v")
    workshop.store.register_task(id, task_pb2.TaskClosure(compiled_task=compiled).SerializeToString())
    spec = kinds.many(2)
    del spec.tasks[0]
    told = await workshop.built(spec.SerializeToString())
    assert told.error == ""
    assert {task.template.id.name for task in (await workshop.closure(told.closure_uri)).tasks} == {"add", "sum"}


async def test_workflows_may_have_a_part_in_common(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    interface = {"inputs": {"x": INTEGER}, "outputs": {"o": INTEGER}}
    common = templates.workflow(templates.node("n0", "add", x="x"), name="common", **interface, returns={"o": "n0.o"})
    for name in ("one", "other"):
        child = templates.workflow(
            templates.sub_node("n0", "common", x="x"), name=name, **interface, returns={"o": "n0.o"}
        )
        closure = compiler.compile_workflow(child, [common], [compiler_pb2.CompiledTask(template=kinds.task("add"))])
        workshop.store.register(EntityId("p", "d", name, "v"), closure.SerializeToString())
    spec = dynamic_job_pb2.DynamicJobSpec(
        nodes=[templates.sub_node("dn0", "one", x=1), templates.sub_node("dn1", "other", x="dn0.o")],
        outputs=templates.bindings({"o": "dn1.o"}),
    )
    told = await workshop.built(spec.SerializeToString())
    assert told.error == ""
    sub_workflows = (await workshop.closure(told.closure_uri)).sub_workflows
    assert sorted(one.template.id.name for one in sub_workflows) == ["common", "one", "other"]


async def test_a_graph_that_was_stored_is_read_back_for_the_next_leader(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    told = await workshop.built(kinds.many(2).SerializeToString())
    stored = await workshop.graphs.stored(told.closure_uri)
    assert told.graph is not None
    assert stored.index == told.graph.index
    assert [node.bindings for node in stored.nodes] == [node.bindings for node in told.graph.nodes]
