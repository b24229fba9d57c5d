"""Random workflows in which time is short: everything comes to an end, and never later than it may."""

from __future__ import annotations

import os
import random
from dataclasses import replace

from flyteidl.core import execution_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.workflow.phases import ExecutionPhase, NodePhase
from tests.support.graphs import Plan, Step
from tests.support.machine import world_of
from tests.support.oracle import outcomes
from tests.support.random_plans import plans

SETTINGS = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def hurried(plan: Plan, dice: random.Random) -> Plan:
    """The same plan, with little time for many of its nodes."""
    failure = _hurried(plan.failure, dice) if plan.failure else None
    return replace(plan, steps=tuple(_hurried(step, dice) for step in plan.steps), failure=failure)


def _hurried(step: Step, dice: random.Random) -> Step:
    if step.inside is not None:
        step = replace(step, inside=hurried(step.inside, dice))
    if step.launch is not None:
        step = replace(step, launch=hurried(step.launch, dice))
    if step.dynamic is not None:
        step = replace(step, dynamic=hurried(step.dynamic, dice))
    if step.branch is not None:
        arms = tuple(replace(arm, step=_hurried(arm.step, dice)) for arm in step.branch.arms)
        step = replace(step, branch=replace(step.branch, arms=arms))
    if step.array is not None:
        return replace(step, array=replace(step.array, item=_hurried(step.array.item, dice)))
    return replace(step, timeout_us=dice.choice([0, 0, 2_000, 20_000]))


@SETTINGS
@given(
    plan=plans(),
    seed=st.integers(0, 2**32),
    trouble=st.sampled_from([0.0, 0.1]),
    crashes=st.sampled_from([0.0, 0.2]),
    deadline=st.sampled_from(["", "", "5ms", "50ms"]),
)
def test_whatever_takes_too_long_ends(plan: Plan, seed: int, trouble: float, crashes: float, deadline: str) -> None:
    dice = random.Random(seed)
    it = world_of(replace(hurried(plan, dice), deadline=deadline), 1, outcomes(seed, trouble), seed)
    while it.proceed():
        if dice.random() < crashes:
            for world in it.store.worlds.values():
                if not world.state.phase.terminal:
                    world.forget()
    assert it.state.phase in (ExecutionPhase.SUCCEEDED, ExecutionPhase.FAILED, ExecutionPhase.TIMED_OUT)
    if it.state.phase is ExecutionPhase.TIMED_OUT:
        assert deadline
        error = execution_pb2.ExecutionError.FromString(it.state.error or b"")
        assert str(it.state.id) in error.message
    for world in it.store.worlds.values():
        assert world.ended
        assert all(node.phase.terminal for node in world.nodes.values())
        assert all(node.error is None for node in world.nodes.values() if node.phase is NodePhase.SUCCEEDED)
