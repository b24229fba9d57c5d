"""Values that are too large to travel inline: whoever looks inside reads them, whoever does not passes them on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flyteidl.core import condition_pb2, literals_pb2, workflow_pb2

from libs.clients.queue import Enqueuer, Key, Reason
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import Data
from services.standalone.etcd import EtcdServer
from tests.support import kinds, templates
from tests.support.flytetypes import INTEGER, listed
from tests.support.graphs import integer
from tests.support.kinds import array
from tests.support.propelling import Fleet, Instant
from tests.support.templates import node, plan_node, promise, sub_node, workflow

LIST = listed(INTEGER)
MANY = 20_000
"""As a list some 200 KB: far beyond what is inline."""
HUGE = 600_000
"""As a list more than 5 MB."""


def choosing(node_id: str, variable: str, equal: int, **cases: workflow_pb2.Node) -> workflow_pb2.Node:
    """A branch that takes `then` if a variable, which is one of its inputs, has this value, and `otherwise` if not."""
    comparison = condition_pb2.ComparisonExpression(
        operator=condition_pb2.ComparisonExpression.EQ,
        left_value=condition_pb2.Operand(var="asked"),
        right_value=condition_pb2.Operand(scalar=templates.constant(equal).scalar),
    )
    case = workflow_pb2.IfBlock(
        condition=condition_pb2.BooleanExpression(comparison=comparison), then_node=cases["then"]
    )
    if_else = workflow_pb2.IfElseBlock(case=case, else_node=cases["otherwise"])
    return workflow_pb2.Node(
        id=node_id,
        inputs=templates.bindings({"asked": variable}),
        branch_node=workflow_pb2.BranchNode(if_else=if_else),
    )


def inputs(count: int, **values: int) -> literals_pb2.LiteralMap:
    found = literals_pb2.LiteralMap(literals={"xs": kinds.numbers(count)})
    for name, number in values.items():
        found.literals[name].scalar.primitive.integer = number
    return found


async def started(fleet: Fleet, template: workflow_pb2.WorkflowTemplate, given: literals_pb2.LiteralMap) -> None:
    """An execution whose inputs `admin` has put into the blob store."""
    path, content = fleet.blob / "inputs.pb", given.SerializeToString()
    path.write_bytes(content)
    record = kinds.submission(template, 1)
    state = replace(record.execution, inputs=Data.at(str(path), len(content)))
    await fleet.executions.create(replace(record, execution=state))
    async with Enqueuer(fleet.queue_address) as enqueuer:
        enqueuer.enqueue(Key(1, 0, "p", reasons=Reason.SUBMITTED))


async def ran(fleet: Fleet, *workflows: workflow_pb2.WorkflowTemplate, given: literals_pb2.LiteralMap) -> int:
    """The output `o` of the last of these workflows."""
    fleet.queue()
    fleet.propeller()
    fleet.executor(Instant())
    await fleet.register_workflows(*workflows)
    await started(fleet, workflows[-1], given)
    await fleet.until(ExecutionPhase.SUCCEEDED, 1, timeout_seconds=50)
    return integer((await fleet.execution(1)).outputs)


async def test_every_kind_of_node_takes_inputs_that_are_not_inline(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    child = workflow(
        node("n0", "sum", xs="xs"), name="child", inputs={"xs": LIST}, outputs={"o": INTEGER}, returns={"o": "n0.o"}
    )
    every = workflow(
        choosing("n0", "x", 7, then=node("n0", "sum", xs="xs"), otherwise=node("n1", "fail", x="x")),
        array("n1", node("item", "sum"), sliced=True, xs=templates.list_of(promise("xs"), promise("xs"))),
        plan_node("n2", "child", xs="xs"),
        node("n3", "many", n="x"),
        node("n4", "sum", xs=templates.list_of(promise("n0.o"), promise("n2.o"), promise("n3.o"))),
        name="every",
        inputs={"xs": LIST, "x": INTEGER},
        outputs={"o": INTEGER, "each": LIST},
        returns={"o": "n4.o", "each": "n1.o"},
    )
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        assert await ran(fleet, child, every, given=inputs(MANY, x=7)) == 2 * sum(range(MANY + 1)) + kinds.total(7)
        outputs = (await fleet.execution(1)).outputs
        assert outputs is not None
        each = literals_pb2.LiteralMap.FromString(outputs.inline or b"").literals["each"].collection.literals
        assert [one.scalar.primitive.integer for one in each] == [sum(range(MANY + 1))] * 2


async def test_nested_workflows_and_children_may_return_megabytes(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    nested = workflow(
        node("n0", "grow", n="n"), name="nested", inputs={"n": INTEGER}, outputs={"o": LIST}, returns={"o": "n0.o"}
    )
    outer = workflow(
        sub_node("n0", "nested", n="n"),
        node("n1", "sum", xs="n0.o"),
        plan_node("n2", "nested", n="n"),
        node("n3", "sum", xs="n2.o"),
        node("n4", "sum", xs=templates.list_of(promise("n1.o"), promise("n3.o"))),
        name="outer",
        inputs={"n": INTEGER, "xs": LIST},
        outputs={"o": INTEGER},
        returns={"o": "n4.o"},
    )
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        assert await ran(fleet, nested, outer, given=inputs(1, n=HUGE)) == 2 * sum(range(HUGE + 1))


async def test_a_list_that_was_offloaded_is_mapped_over(tmp_path: Path, database_url: str, etcd: EtcdServer) -> None:
    mapping = workflow(
        node("n0", "shelve", n="n"),
        array("n1", node("item", "add"), sliced=True, x="n0.o"),
        node("n2", "sum", xs="n1.o"),
        name="mapping",
        inputs={"n": INTEGER, "xs": LIST},
        outputs={"o": INTEGER},
        returns={"o": "n2.o"},
    )
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        assert await ran(fleet, mapping, given=inputs(1, n=50)) == sum(range(2, 52))
