"""Random workflows whose tasks are cached: they end as without a cache, and what is serialized is computed once."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.workflow.phases import CacheStatus, ExecutionPhase, ReservationStatus
from tests.support.graphs import Plan, Step
from tests.support.machine import World, world_of
from tests.support.oracle import all_is_well, expected, outcomes
from tests.support.random_plans import plans

SETTINGS = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SEEDS = st.integers(0, 2**32)


def cached(plan: Plan, dice: random.Random, serialized: bool) -> Plan:
    """The same plan with most tasks cached."""
    failure = _cached(plan.failure, dice, serialized) if plan.failure else None
    return replace(plan, steps=tuple(_cached(step, dice, serialized) for step in plan.steps), failure=failure)


def _cached(step: Step, dice: random.Random, serialized: bool) -> Step:
    if step.inside is not None:
        step = replace(step, inside=cached(step.inside, dice, serialized))
    if step.launch is not None:
        step = replace(step, launch=cached(step.launch, dice, serialized))
    if step.dynamic is not None:
        step = replace(step, dynamic=cached(step.dynamic, dice, serialized))
    if step.branch is not None:
        arms = tuple(replace(arm, step=_cached(arm.step, dice, serialized)) for arm in step.branch.arms)
        step = replace(step, branch=replace(step.branch, arms=arms))
    if step.array is not None:
        step = replace(step, array=replace(step.array, item=_cached(step.array.item, dice, serialized)))
    if (step.plain or step.dynamic) and dice.random() < 0.8:
        step = replace(step, cache="1", serialized=serialized)
    return step


def run(it: World, dice: random.Random, crashes: float) -> None:
    while it.proceed():
        if dice.random() < crashes:
            for world in it.store.worlds.values():
                if not world.state.phase.terminal:
                    world.forget()


def check(it: World) -> None:
    for world in it.store.worlds.values():
        assert world.ended
        for node in world.nodes.values():
            assert node.phase.terminal
            assert node.reservation is not ReservationStatus.ACQUIRED, f"{node.id} keeps others waiting"


@SETTINGS
@given(plan=plans(), seed=SEEDS, serialized=st.booleans(), crashes=st.sampled_from([0.0, 0.2]))
def test_a_cache_changes_nothing_but_how_often_is_computed(
    plan: Plan, seed: int, serialized: bool, crashes: float
) -> None:
    dice = random.Random(seed)
    it = world_of(cached(plan, dice, serialized), 1, all_is_well, seed)
    run(it, dice, crashes)
    check(it)
    result = expected(plan, 1)
    assert it.state.phase is (ExecutionPhase.FAILED if result is None else ExecutionPhase.SUCCEEDED)
    assert result is None or it.result() == result
    nodes = [node for world in it.store.worlds.values() for node in world.nodes.values() if node.cache_key]
    computed = Counter(node.cache_key for node in nodes if node.cache_status is CacheStatus.POPULATED)
    assert not serialized or all(count == 1 for count in computed.values()), "computed twice"
    assert set(computed) == set(it.store.cache)


@SETTINGS
@given(
    plan=plans(),
    seed=SEEDS,
    trouble=st.sampled_from([0.1, 0.4]),
    crashes=st.sampled_from([0.0, 0.2]),
    after=st.one_of(st.none(), st.integers(0, 40)),
)
def test_failures_and_aborts_keep_nobody_waiting(
    plan: Plan, seed: int, trouble: float, crashes: float, after: int | None
) -> None:
    dice = random.Random(seed)
    it = world_of(cached(plan, dice, True), 1, outcomes(seed, trouble), seed)
    for _ in range(after or 0):
        it.proceed()
    if after is not None:
        it.abort()
    run(it, dice, crashes)
    check(it)
