"""Transitions that cannot be: nothing of them is durable, and the error tells the story."""

from __future__ import annotations

import copy
import itertools
from enum import IntEnum

import pytest

from libs.workflow import graph
from libs.workflow.machine import messages as m
from libs.workflow.machine.transitions import ATTEMPT, EXECUTION, NODE, IllegalTransition, check
from libs.workflow.phases import AttemptPhase, ErrorKind, ExecutionPhase, NodePhase
from tests.support.graphs import Plan, Step, closure_of, state_of
from tests.support.machine import World, world

PHASES: dict[type[IntEnum], object] = {ExecutionPhase: EXECUTION, NodePhase: NODE, AttemptPhase: ATTEMPT}


@pytest.mark.parametrize(("phases", "table"), PHASES.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_what_is_final_is_never_left_and_what_is_in_the_table_is_allowed(
    phases: type[ExecutionPhase] | type[NodePhase] | type[AttemptPhase],
    table: dict[IntEnum, frozenset[IntEnum]],
) -> None:
    for before, after in itertools.product(phases, phases):
        if after in table.get(before, ()):
            assert not before.terminal
            check(table, before, after, "node", "n0")
        else:
            with pytest.raises(IllegalTransition, match=f"^node n0 cannot go from {before.name} to {after.name}$"):
                check(table, before, after, "node", "n0")


def running() -> World:
    plan = Plan((Step("n0"), Step("n1")))
    it = world(state_of(plan), graph.build(closure_of(plan)))
    it.begin()
    it.turn(m.Placed("n0", 0, "e1", "life", "log"))
    return it


def test_a_turn_with_an_illegal_transition_says_what_was_to_happen_to_whom_and_leaves_the_rows_alone() -> None:
    it = running()
    rows = copy.deepcopy((it.state, it.nodes, it.attempts))
    it.execution.live["n0"].state.phase = NodePhase.SKIPPED  # as no sequence of events can make it
    with pytest.raises(IllegalTransition, match=r"^node n0 cannot go from SKIPPED to FAILED$"):
        it.turn(
            m.Placed("n1", 0, "e1", "life", "log"),
            m.Failed("n0", 0, "e1", 1, 5, None, "Code", "text", ErrorKind.USER, recoverable=False),
        )
    assert (it.state, it.nodes, it.attempts) == rows
