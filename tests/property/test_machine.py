"""The machine against a naive oracle: random nested workflows with nodes of every kind, random outcomes, random orders
of events, crashes, aborts.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

from flyteidl.core import execution_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.workflow.phases import Desired, ExecutionPhase, NodePhase
from tests.support.graphs import Plan, Step
from tests.support.machine import World, world_of
from tests.support.oracle import approved, expected, fate, outcomes
from tests.support.random_plans import plans

SETTINGS = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SEEDS = st.integers(0, 2**32)
TROUBLES = st.sampled_from([0.0, 0.05, 0.2, 0.6])


def check_end(it: World) -> None:
    """What is true of executions that have come to an end, and of all that they have launched."""
    for world in it.store.worlds.values():
        assert world.ended
        assert world.state.phase.terminal
        assert all(node.phase.terminal for node in world.nodes.values())
        assert all(attempt.phase.terminal for attempt in world.attempts.values())
        assert all(count == 1 for count in world.starts.values()), "an attempt was started twice"
        for node in world.nodes.values():
            if node.parent_id:
                assert (node.ended_at_us or 0) <= (world.nodes[node.parent_id].ended_at_us or 0)
        _check_attempts(world)
        _check_failure_nodes(world)


def _check_attempts(world: World) -> None:
    numbers: dict[str, list[int]] = {}
    for node_id, number in world.attempts:
        numbers.setdefault(node_id, []).append(number)
    for node_id, used in numbers.items():
        assert sorted(used) == list(range(len(used))), f"attempts of {node_id} are {sorted(used)}"


def _check_failure_nodes(world: World) -> None:
    """A failure node runs in a workflow that has failed by itself, and in no other."""
    error = world.state.error
    for node_id, plan in _scopes(world, world.store.plans[world.state.launch_plan.name], ""):
        parent = world.nodes[node_id] if node_id else None
        prefix = f"{node_id}-{parent.attempt}-" if parent else ""
        failure = world.nodes.get(f"{prefix}f")
        failed = parent.phase is NodePhase.FAILED if parent else world.state.phase is ExecutionPhase.FAILED
        if plan.failure is None or not failed:
            assert failure is None, f"the failure node of {node_id!r} has run"
        elif world.intent.desired is Desired.RUN and (parent is None or parent.error == error):
            # The first failure of all, and whatever failed by it, was not cut short by another.
            assert failure is not None, f"the failure node of {node_id!r} has not run"
            assert failure.phase in (NodePhase.SUCCEEDED, NodePhase.FAILED)
            launched = world.store.worlds.get(failure.child_key or 0)
            # Somebody may have aborted it; its parent has not.
            spared = launched is None or launched.intent.desired is Desired.RUN or launched.intent.abort_principal
            assert spared, "what is to clean up was aborted"


def _scopes(world: World, plan: Plan, node_id: str) -> Iterator[tuple[str, Plan]]:
    """The workflows that have run in an execution, by the node in which they did."""
    yield node_id, plan
    for step in [*plan.steps, *([plan.failure] if plan.failure else [])]:
        prefix = f"{node_id}-{world.nodes[node_id].attempt}-" if node_id else ""
        yield from _scopes_of_step(world, step, prefix)


def _scopes_of_step(world: World, step: Step, prefix: str) -> Iterator[tuple[str, Plan]]:
    node = world.nodes.get(f"{prefix}{step.name}")
    if node is None or node.phase is NodePhase.SKIPPED:
        return
    if step.inside is not None:
        yield from _scopes(world, step.inside, node.id)
    if step.dynamic is not None and node.closure_uri is not None:
        yield from _scopes(world, step.dynamic, node.id)
    for position in range(node.items or 0):
        assert step.array is not None
        yield from _scopes_of_step(world, replace(step.array.item, name=f"n{position}"), f"{node.id}-0-")
    for arm in step.branch.arms if step.branch else ():
        yield from _scopes_of_step(world, arm.step, f"{node.id}-0-")


def check_result(it: World, result: int | None) -> None:
    if result is None:
        assert it.state.phase is ExecutionPhase.FAILED
        assert it.state.error is not None
        assert execution_pb2.ExecutionError.FromString(it.state.error).message
    else:
        assert it.state.phase is ExecutionPhase.SUCCEEDED
        assert it.result() == result


@SETTINGS
@given(plan=plans(), x=st.integers(-5, 5), seed=SEEDS, trouble=TROUBLES, large=st.sampled_from([0.0, 0.3]))
def test_every_execution_ends_as_the_oracle_says(plan: Plan, x: int, seed: int, trouble: float, large: float) -> None:
    outcome = outcomes(seed, trouble)
    it = world_of(plan, x, outcome, seed, large)
    it.run()
    check_end(it)
    check_result(it, expected(plan, x, outcome))


@SETTINGS
@given(plan=plans(), seed=SEEDS, trouble=TROUBLES, large=st.sampled_from([0.0, 0.3]), together=st.booleans())
def test_a_new_leader_goes_on_from_the_rows_as_if_nothing_had_happened(
    plan: Plan, seed: int, trouble: float, large: float, together: bool
) -> None:
    outcome = outcomes(seed, trouble)
    it = world_of(plan, 3, outcome, seed, large)
    dice = random.Random(seed)
    while it.proceed():
        if dice.random() < 0.2:
            crash(it, dice, together)
    check_end(it)
    check_result(it, expected(plan, 3, outcome))


@SETTINGS
@given(plan=plans(), seed=SEEDS, trouble=TROUBLES, after=st.integers(0, 80), large=st.sampled_from([0.0, 0.3]))
def test_any_prefix_of_an_execution_leads_to_the_same_result_from_the_rows_alone(
    plan: Plan, seed: int, trouble: float, after: int, large: float
) -> None:
    outcome = outcomes(seed, trouble)
    it = world_of(plan, 2, outcome, seed, large)
    for _ in range(after):
        it.proceed()
    for world in it.store.worlds.values():
        if not world.state.phase.terminal:
            world.forget()
    it.run()
    check_end(it)
    check_result(it, expected(plan, 2, outcome))


def crash(it: World, dice: random.Random, together: bool) -> None:
    """The memory of a process is lost, or only that of one execution whose commit has failed."""
    living = [world for world in it.store.worlds.values() if not world.state.phase.terminal]
    for world in living if together else [dice.choice(living)] if living else []:
        world.forget()
    for world in living:
        if world.execution.resumed and dice.random() < 0.7:
            world.begin()


@SETTINGS
@given(plan=plans(), seed=SEEDS, trouble=TROUBLES, after=st.integers(0, 40), crashes=st.booleans())
def test_an_abort_ends_everything_and_comes_too_late_for_what_is_final(
    plan: Plan, seed: int, trouble: float, after: int, crashes: bool
) -> None:
    it = world_of(plan, 1, outcomes(seed, trouble), seed)
    dice = random.Random(seed)
    for _ in range(after):
        it.proceed()
    before = it.state.phase
    it.abort()
    while it.proceed():
        if crashes and dice.random() < 0.2:
            crash(it, dice, True)
    check_end(it)
    if before.terminal:
        assert it.state.phase is before
    elif before is ExecutionPhase.FAILING:
        assert it.state.phase is ExecutionPhase.FAILED
    else:
        assert it.state.phase is ExecutionPhase.ABORTED


@SETTINGS
@given(plan=plans(), seed=SEEDS, trouble=TROUBLES, after=st.integers(0, 60), large=st.sampled_from([0.0, 0.3]))
def test_whatever_is_aborted_below_the_rest_comes_to_an_end(
    plan: Plan, seed: int, trouble: float, after: int, large: float
) -> None:
    it = world_of(plan, 1, outcomes(seed, trouble), seed, large)
    for _ in range(after):
        it.proceed()
    dice = random.Random(seed)
    dice.choice(list(it.store.worlds.values())).order_abort("enough", "somebody")
    while it.proceed():
        if dice.random() < 0.1:
            crash(it, dice, dice.random() < 0.5)
    check_end(it)


def succeeds(it: World, step: Step) -> bool:
    if step.gate is not None:
        return not step.gate.approve or approved(it.store.outcome, "", step.gate.approve)
    return fate(it.store.outcome, step.name, step.retries) is not None


FLAT = plans(depth=0, kinds=("task", "approve", "signal", "sleep"))


@SETTINGS
@given(plan=FLAT, seed=SEEDS, trouble=TROUBLES)
def test_a_policy_that_goes_on_runs_all_that_does_not_depend_on_the_failure(
    plan: Plan, seed: int, trouble: float
) -> None:
    plan = Plan(plan.steps, fail_immediately=False)
    it = world_of(plan, 1, outcomes(seed, trouble), seed)
    it.run()
    check_end(it)
    phases: dict[str, NodePhase] = {}
    for step in plan.steps:
        blocked = any(phases[need] is not NodePhase.SUCCEEDED for need in step.needs)
        good = succeeds(it, step)
        phases[step.name] = NodePhase.SKIPPED if blocked else NodePhase.SUCCEEDED if good else NodePhase.FAILED
        assert it.nodes[step.name].phase is phases[step.name]
