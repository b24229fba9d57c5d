"""Array nodes against a literal reading of what they are, with crashes in between; and what their items cost.

How they go step by step: `scenarios/array_*.txt`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from flyteidl.core import execution_pb2, literals_pb2

from libs.workflow.graph import Graph, GraphNode, items_of
from libs.workflow.machine import Execution, Turn, inputs_of, item_index, step
from libs.workflow.machine import messages as m
from libs.workflow.machine.items import WINDOW
from libs.workflow.phases import ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import Data
from tests.support.graphs import Array, Plan, Step, execution_of, number
from tests.support.machine import World, world_of
from tests.support.oracle import Outcome, expected, fate, outcomes

NESTED = Plan((Step("n0"),), name="nested")
LAUNCHED = Plan((Step("n0"),), name="launched")


def array(item: Step, numbers: Sequence[int], **rules: object) -> Plan:
    """A workflow of one array over one list."""
    return Plan((Step("a", array=Array(item, {"x": numbers}, **rules)),))  # type: ignore[arg-type]


def random_array(dice: random.Random) -> Array:
    item = dice.choice(
        (
            Step("item", retries=dice.randrange(3)),
            Step("item", retries=dice.randrange(3)),
            Step("item", inside=NESTED),
            Step("item", launch=LAUNCHED),
        )
    )
    count = dice.choice((0, 1, 2, 3, 30))
    return Array(
        item,
        {"x": [dice.randrange(100) for _ in range(count)]},
        sliced=dice.random() < 0.5,
        parallelism=dice.choice((0, 0, 1, 3, 100)),
        ratio=dice.choice((None, 0.0, 0.5, 0.9, 1.0)),
        run_all=dice.random() < 0.3,
    )


def oracle(array: Array, outcome: Outcome) -> list[int | None] | None:
    """The array's output, or None if it fails."""
    found = [_item(array.item, f"a-0-n{i}", x, outcome) for i, x in enumerate(array.numbers["x"])]
    needed = len(found) if array.ratio is None else math.ceil(array.ratio * len(found))
    return found if sum(one is not None for one in found) >= needed else None


def _item(item: Step, node_id: str, x: int, outcome: Outcome) -> int | None:
    if item.inside is not None:
        return expected(item.inside, x, outcome, "", f"{node_id}-0-")
    if item.launch is not None:
        return expected(item.launch, x, outcome, f"{node_id}/")
    return None if fate(outcome, node_id, item.retries) is None else x + 1


def listed(it: World, node_id: str = "a") -> list[int | None]:
    """The output of an array."""
    literals = it.content(it.nodes[node_id].outputs).literals["o"].collection.literals
    return [None if literal.scalar.HasField("none_type") else literal.scalar.primitive.integer for literal in literals]


def parallel(it: World) -> int:
    return sum(node.parent_id == "a" and not node.phase.terminal for node in it.nodes.values())


@pytest.mark.parametrize("seed", range(150))
def test_an_array_comes_to_what_its_items_come_to_however_often_the_leader_is_lost(seed: int) -> None:
    dice = random.Random(seed)
    one = random_array(dice)
    outcome = outcomes(seed, dice.choice((0.0, 0.05, 0.3)))
    plan = Plan((Step("a", array=one),), max_parallelism=dice.choice((0, 0, 1, 4)))
    it = world_of(plan, 0, outcome, seed, large=dice.choice((0.0, 0.2)))
    it.begin()
    while it.proceed():
        assert not one.parallelism or parallel(it) <= one.parallelism
        if dice.random() < 0.1 and not it.state.phase.terminal:
            it.crash()
    wanted = oracle(one, outcome)
    assert it.nodes["a"].phase is (NodePhase.FAILED if wanted is None else NodePhase.SUCCEEDED)
    assert it.nodes["a"].items == len(one.numbers["x"])
    if wanted is not None:
        assert listed(it) == wanted
    assert all(node.phase.terminal for node in it.nodes.values())
    assert max(it.starts.values(), default=1) == 1, "an attempt was started twice"


def test_an_error_tells_about_the_first_items_that_failed_and_how_many_more_did() -> None:
    it = world_of(array(Step("item"), range(20), run_all=True), outcome=lambda path, attempt: "fatal")
    it.begin()
    it.run()
    error = execution_pb2.ExecutionError.FromString(it.nodes["a"].error or b"")
    lines = error.message.splitlines()
    assert error.code == "fatal"
    assert len(lines) == 11
    assert lines[0].endswith("has failed")
    assert lines[-1] == "and 10 more"
    assert error.kind == execution_pb2.ExecutionError.USER


@pytest.mark.parametrize(("ratio", "failing", "succeeds"), [(0.1, 27, True), (0.1, 28, False), (0.7, 9, True)])
def test_a_share_of_the_items_is_what_it_says_although_the_wire_rounds_it(
    ratio: float, failing: int, succeeds: bool
) -> None:
    def outcome(path: str, attempt: int) -> str:
        return "fatal" if path.startswith("a-0-n") and int(path.removeprefix("a-0-n")) < failing else "succeed"

    it = world_of(array(Step("item"), range(30), ratio=ratio), outcome=outcome)
    it.begin()
    it.run()
    assert (it.nodes["a"].phase is NodePhase.SUCCEEDED) is succeeds


def test_all_items_run_if_the_array_says_so_although_it_has_failed_already() -> None:
    it = world_of(array(Step("item"), range(5), run_all=True, parallelism=1), outcome=lambda path, attempt: "fatal")
    it.begin()
    it.run()
    assert it.nodes["a"].phase is NodePhase.FAILED
    assert sum(node.parent_id == "a" for node in it.nodes.values()) == 5


def test_items_that_share_their_arrays_inputs_have_none_of_their_own_and_are_told_which_they_are() -> None:
    it = world_of(array(Step("item"), (7, 8)))
    it.begin()
    node = it.execution.live["a-0-n1"]
    assert it.nodes["a-0-n1"].inputs is None
    assert item_index(node) == 1
    assert inputs_of(node) == it.nodes["a"].inputs
    around = it.execution.live["a"]
    assert item_index(around) is None
    assert inputs_of(around) == it.nodes["a"].inputs


def test_items_with_inputs_of_their_own_are_nodes_like_others() -> None:
    it = world_of(array(Step("item"), (7, 8), sliced=True))
    it.begin()
    node = it.execution.live["a-0-n1"]
    assert item_index(node) is None
    assert it.content(inputs_of(node)).literals["x"] == number(8)


# ----------------------------------------------------------------------------------------------------------- offloading


def offloaded(uri: str) -> literals_pb2.Literal:
    return literals_pb2.Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri=uri, size_bytes=5))


def list_of(*values: int) -> literals_pb2.Literal:
    return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=map(number, values)))


def over_a_result(*, sliced: bool, parallelism: int = 0) -> World:
    """A workflow whose array runs over what a task has offloaded; the task has just ended."""
    one = Array(Step("item"), {"x": ()}, sliced=sliced, parallelism=parallelism)
    it = world_of(Plan((Step("n0"), Step("a", ("n0",), array=one))))
    spec = it.execution.graph.nodes[it.execution.graph.index["a"]]
    binding = spec.bindings[0].binding
    binding.promise.node_id, binding.promise.var = "n0", "o"
    it.begin()
    it.turn(m.Placed("n0", 0, "e1", "life", "log"))
    outputs = literals_pb2.LiteralMap(literals={"o": offloaded("blob:/list")})
    turn = it.turn(m.Succeeded("n0", 0, "e1", 1, 5, None, Data.of(outputs.SerializeToString())))
    assert turn.commands[-1] == m.ReadBlob("blob:/list")
    return it


@pytest.mark.parametrize("sliced", [True, False])
def test_a_list_that_was_offloaded_is_read_before_it_is_counted(sliced: bool) -> None:
    it = over_a_result(sliced=sliced)
    turn = it.turn(m.BlobRead("blob:/list", list_of(4, 5).SerializeToString()))
    assert [command for command in turn.commands if isinstance(command, m.Seek)] == [
        m.Seek("a-0-n0", 0),
        m.Seek("a-0-n1", 0),
    ]
    first = it.nodes["a-0-n0"].inputs
    assert (it.content(first).literals["x"] == number(4)) if sliced else first is None
    assert it.content(it.nodes["a"].inputs).literals["x"].HasField("offloaded_metadata"), "it is passed on as it is"


def test_an_offloaded_list_that_cannot_be_read_fails_its_array() -> None:
    it = over_a_result(sliced=True)
    it.turn(m.BlobRead("blob:/list", b"\xff"))
    assert it.nodes["a"].phase is NodePhase.FAILED
    assert b"no literal" in (it.nodes["a"].error or b"")


def test_a_new_leader_reads_the_list_again_as_long_as_items_have_to_start() -> None:
    it = over_a_result(sliced=True, parallelism=1)
    it.turn(m.BlobRead("blob:/list", list_of(4, 5).SerializeToString()))
    assert m.ReadBlob("blob:/list") not in it.crash().commands, "there is no room for another item yet"
    it.turn(m.Placed("a-0-n0", 0, "e1", "life", "log"))
    outputs = Data.of(literals_pb2.LiteralMap(literals={"o": number(1)}).SerializeToString())
    turn = it.turn(m.Succeeded("a-0-n0", 0, "e1", 1, 5, None, outputs))
    assert turn.commands[-1] == m.ReadBlob("blob:/list")
    it.turn(m.BlobRead("blob:/list", list_of(4, 5).SerializeToString()))
    assert it.content(it.nodes["a-0-n1"].inputs).literals["x"] == number(5)


def test_an_array_whose_list_a_new_leader_cannot_read_fails_and_stops_what_runs() -> None:
    it = over_a_result(sliced=True, parallelism=2)
    it.turn(m.BlobRead("blob:/list", list_of(4, 5, 6).SerializeToString()))
    for item in ("a-0-n0", "a-0-n1"):
        it.turn(m.Placed(item, 0, "e1", "life", "log"))
    it.crash()
    outputs = Data.of(literals_pb2.LiteralMap(literals={"o": number(1)}).SerializeToString())
    it.turn(m.Succeeded("a-0-n0", 0, "e1", 1, 5, None, outputs))
    turn = it.turn(m.BlobRead("blob:/list", None, "it is gone"))
    assert m.Stop("a-0-n1", 0, "the execution is ending") in turn.commands
    phases = [it.nodes["a"].phase]
    it.turn(m.Stopped("a-0-n1", 0, "e1", 1, 5, "told to"))
    phases.append(it.nodes["a"].phase)
    assert phases == [NodePhase.FAILING, NodePhase.FAILED]
    assert execution_pb2.ExecutionError.FromString(it.nodes["a"].error or b"").message == "it is gone"


# ------------------------------------------------------------------------------------------------------------- in bulk


class Slots:
    """As many slots as there are, for tasks that end at once: the outside of an execution, without looking back."""

    def __init__(self, execution: Execution, slots: int) -> None:
        self.execution = execution
        self.slots = slots
        self.seeking: dict[tuple[str, int], None] = {}
        self.most_seeking = 0
        self.most_live = 0
        self.touched: list[int] = []
        self.blobs: dict[str, bytes] = {}

    def run(self) -> None:
        outputs = Data.of(literals_pb2.LiteralMap(literals={"o": number(1)}).SerializeToString())
        self.turn()
        while not self.execution.state.phase.terminal:
            batch = list(self.seeking)[: self.slots]
            for attempt in batch:
                del self.seeking[attempt]
            self.turn(*(m.Placed(*attempt, "e1", "life", "log") for attempt in batch))
            self.turn(*(m.Succeeded(*attempt, "e1", 1, 5, 4, outputs) for attempt in batch))

    def turn(self, *events: m.Event) -> Turn:
        turn = step(self.execution, events, 1_000_000)
        self.touched.append(len(turn.changes.nodes) - len(events))
        for command in turn.commands:
            if isinstance(command, m.Seek):
                self.seeking[command.node_id, command.attempt] = None
            elif isinstance(command, m.WriteBlob):
                uri = f"{command.node_id}/{command.role}"
                self.blobs[uri] = command.content
                self.turn(m.BlobWritten(command.node_id, command.role, Data.at(uri, len(command.content))))
            elif isinstance(command, m.ReadBlob):
                self.turn(m.BlobRead(command.uri, self.blobs[command.uri]))
        self.most_seeking = max(self.most_seeking, len(self.seeking))
        self.most_live = max(self.most_live, len(self.execution.live))
        return turn


def test_items_wait_in_a_window_and_not_all_at_once() -> None:
    outside = Slots(execution_of(array(Step("item"), range(5 * WINDOW))), slots=100)
    outside.run()
    assert outside.execution.state.phase is ExecutionPhase.SUCCEEDED
    assert outside.most_seeking <= WINDOW
    assert outside.most_live <= WINDOW + 2 * 100 + 1
    assert max(outside.touched) <= WINDOW + 3


def test_no_more_items_than_a_window_start_in_a_step_and_the_next_step_comes_at_once() -> None:
    execution = execution_of(array(Step("item", launch=LAUNCHED), range(2 * WINDOW + 500)))
    now_us = 1_000_000
    turn = step(execution, (), now_us)
    for command in turn.commands:
        assert isinstance(command, m.WriteBlob), "the list is too long for a row"
        turn = step(execution, (m.BlobWritten("a", command.role, Data.at("blob:/a", 20_000)),), now_us)
    launched = [len(turn.changes.children)]
    while execution.state.next_wake_at_us is not None:
        assert execution.state.next_wake_at_us == now_us
        launched.append(len(step(execution, (), now_us).changes.children))
    assert launched == [WINDOW, WINDOW, 500]


def test_the_graph_of_items_finds_them_by_name_and_by_index() -> None:
    graph: Graph = items_of(GraphNode(index=-1, id="item", kind=NodeKind.TASK), 12)
    assert [node.id for node in graph.nodes][:2] == ["n0", "n1"]
    assert graph.nodes[graph.index["n11"]].id == "n11"
    assert graph.nodes[-1].index == 11
    for name in ("n12", "n-1", "n", "11", "n\N{ARABIC-INDIC DIGIT ONE}", "n011"):
        assert name not in graph.index
