"""Literals that a task has offloaded: read where a node looks inside, passed on as they are where it does not."""

from __future__ import annotations

import pytest
from flyteidl.core import literals_pb2

from libs.workflow.binding import NotRead
from libs.workflow.machine import messages as m
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.reading import Reading
from libs.workflow.phases import NodePhase
from libs.workflow.state import Data
from tests.support.graphs import Arm, Branch, Plan, Step, number
from tests.support.machine import World, world_of

OFFLOADED = literals_pb2.Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri="blob:/o"))
BRANCH = Branch((Arm(Step("big"), ">", 10), Arm(Step("small"))))


def after(*steps: Step) -> World:
    """A workflow of `n0`, which is about to end, and these steps."""
    it = world_of(Plan((Step("n0"), *steps)))
    it.begin()
    it.turn(m.Placed("n0", 0, "e1", "life", "log"))
    return it


def success() -> m.Succeeded:
    outputs = literals_pb2.LiteralMap(literals={"o": OFFLOADED})
    return m.Succeeded("n0", 0, "e1", 1, 5, None, Data.of(outputs.SerializeToString()))


def test_a_branch_compares_what_was_offloaded() -> None:
    it = after(Step("n1", ("n0",), branch=BRANCH))
    assert m.ReadBlob("blob:/o") in it.turn(success()).commands
    assert "n1" not in it.nodes
    it.turn(m.BlobRead("blob:/o", number(11).SerializeToString()))
    assert it.nodes["n1-0-big"].phase is NodePhase.QUEUED
    assert "n1-0-small" not in it.nodes


def test_a_branch_fails_when_what_it_compares_is_gone() -> None:
    it = after(Step("n1", ("n0",), branch=BRANCH))
    it.turn(success())
    it.turn(m.BlobRead("blob:/o", None, "it is gone"))
    assert it.nodes["n1"].phase is NodePhase.FAILED
    assert b"it is gone" in (it.nodes["n1"].error or b"")


def test_a_new_leader_reads_again_what_a_branch_compares() -> None:
    it = after(Step("n1", ("n0",), branch=BRANCH))
    it.turn(success())
    assert m.ReadBlob("blob:/o") in it.crash().commands
    it.turn(m.BlobRead("blob:/o", number(1).SerializeToString()))
    assert it.nodes["n1-0-small"].phase is NodePhase.QUEUED


def test_a_task_gets_what_was_offloaded_as_it_is() -> None:
    it = after(Step("n1", ("n0",)))
    turn = it.turn(success())
    assert not any(isinstance(command, m.ReadBlob) for command in turn.commands)
    assert it.content(it.nodes["n1"].inputs).literals["x"] == OFFLOADED


def test_an_attribute_is_looked_up_in_what_was_offloaded() -> None:
    it = after(Step("n1", ("n0",)))
    node = it.execution.graph.nodes[it.execution.graph.index["n1"]]
    node.bindings[0].binding.promise.attr_path.add(int_value=1)
    object.__setattr__(node, "whole", None)  # as if it had been built so
    it.turn(success())
    values = literals_pb2.LiteralCollection(literals=[number(3), number(4)])
    it.turn(m.BlobRead("blob:/o", literals_pb2.Literal(collection=values).SerializeToString()))
    assert it.content(it.nodes["n1"].inputs).literals["x"] == number(4)


def test_data_that_comes_to_lie_where_forgotten_data_lay_is_read_itself() -> None:
    journal = Journal()
    journal.open(world_of(Plan((Step("n0"),))).execution, 0, None)
    reading = Reading(journal)
    for value in range(100):
        outputs = literals_pb2.LiteralMap(literals={"o": number(value)})
        assert reading.literals(Data.of(outputs.SerializeToString())) == outputs


def test_a_place_that_is_both_a_literal_and_a_literal_map_is_read_once_for_either() -> None:
    journal = Journal()
    journal.open(world_of(Plan((Step("n0"),))).execution, 0, None)
    reading = Reading(journal)
    with pytest.raises(NotRead):
        reading.offloaded("blob:/o")
    reading.keep(m.BlobRead("blob:/o", number(1).SerializeToString()))
    assert reading.offloaded("blob:/o") == number(1)
    assert not reading.is_here(Data.at("blob:/o", 9))
    reading.keep(m.BlobRead("blob:/o", b""))
    assert reading.is_here(Data.at("blob:/o", 9))
