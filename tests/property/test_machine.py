"""The machine against a naive oracle: random nested workflows, random outcomes, random orders of events, crashes,
aborts.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.workflow import graph
from libs.workflow.machine import messages as m
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from libs.workflow.retry import RetryPolicy
from tests.support.graphs import Plan, Step, closure_of, expected, integer, state_of
from tests.support.machine import OUTCOMES, World, world

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def plans(draw: st.DrawFn, depth: int = 2, name: str = "wf") -> Plan:
    count = draw(st.integers(1, 5))
    steps = []
    for number in range(count):
        earlier = [f"n{other}" for other in range(number)]
        needs = tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3))) if earlier else ()
        nested = depth > 0 and draw(st.integers(0, 3)) == 0
        inside = draw(plans(depth - 1, f"{name}.{number}")) if nested else None
        steps.append(Step(f"n{number}", needs, inside, draw(st.integers(0, 2))))
    return Plan(tuple(steps), draw(st.booleans()), name, draw(st.sampled_from([0, 0, 1, 2])) if name == "wf" else 0)


def outcomes(seed: int, trouble: float) -> Callable[[str, int], str]:
    """What becomes of each attempt: fixed by the seed, whatever the order of events."""

    def outcome(node_id: str, attempt: int) -> str:
        dice = random.Random(f"{seed}/{node_id}/{attempt}")
        return dice.choice(OUTCOMES) if dice.random() < trouble else "succeed"

    return outcome


def fate(world: World, node_id: str, retries: int) -> bool:
    """Whether a task node succeeds in the end: the retry rules, read literally."""
    policy = RetryPolicy(max_attempts=retries + 1)
    user = system = attempt = 0
    while True:
        outcome = world.outcome(node_id, attempt)
        attempt += 1
        if outcome == "succeed":
            return True
        if outcome == "fatal":
            return False
        if outcome == "recoverable":
            user += 1
            if user >= policy.max_attempts:
                return False
        elif outcome in ("system", "lost"):
            system += 1
            if system > policy.system_retries:
                return False


def succeeds(world: World, plan: Plan, prefix: str = "") -> bool:
    """Whether every node of a plan can succeed; with any failure the workflow fails."""
    good = True
    for step in plan.steps:
        node_id = f"{prefix}{step.name}"
        if step.inside is not None:
            good &= succeeds(world, step.inside, f"{node_id}-0-")
        else:
            good &= fate(world, node_id, step.retries)
    return good and fate(world, f"{prefix}sum", 0)


def check_end(world: World) -> None:
    """What is true of every execution that has come to an end."""
    assert world.ended
    assert world.state.phase.terminal
    assert all(node.phase.terminal for node in world.nodes.values())
    assert all(attempt.phase.terminal for attempt in world.attempts.values())
    assert all(count == 1 for count in world.starts.values()), "an attempt was started twice"
    for node in world.nodes.values():
        if node.parent_id:
            assert (node.ended_at_us or 0) <= (world.nodes[node.parent_id].ended_at_us or 0)
    numbers: dict[str, list[int]] = {}
    for node_id, number in world.attempts:
        numbers.setdefault(node_id, []).append(number)
    for node_id, used in numbers.items():
        assert sorted(used) == list(range(len(used))), f"attempts of {node_id} are {sorted(used)}"


@SETTINGS
@given(plan=plans(), x=st.integers(-5, 5), seed=st.integers(0, 2**32), trouble=st.sampled_from([0.0, 0.2, 0.6]))
def test_every_execution_ends_as_the_oracle_says(plan: Plan, x: int, seed: int, trouble: float) -> None:
    it = world(state_of(plan, x), graph.build(closure_of(plan)), outcomes(seed, trouble), seed)
    it.begin()
    it.run()
    check_end(it)
    if succeeds(it, plan):
        assert it.state.phase is ExecutionPhase.SUCCEEDED
        assert integer(it.state.outputs) == expected(plan, x)
    else:
        assert it.state.phase is ExecutionPhase.FAILED
        assert it.state.error is not None


@SETTINGS
@given(plan=plans(), seed=st.integers(0, 2**32), crashes=st.integers(1, 6))
def test_a_new_leader_goes_on_from_the_rows_as_if_nothing_had_happened(plan: Plan, seed: int, crashes: int) -> None:
    it = world(state_of(plan, 3), graph.build(closure_of(plan)), outcomes(seed, 0.3), seed)
    it.begin()
    dice = random.Random(seed)
    while it.proceed():
        if crashes and not it.ended and dice.random() < 0.2:
            crashes -= 1
            it.crash()
    check_end(it)
    good = succeeds(it, plan)
    assert it.state.phase is (ExecutionPhase.SUCCEEDED if good else ExecutionPhase.FAILED)
    if good:
        assert integer(it.state.outputs) == expected(plan, 3)


@SETTINGS
@given(plan=plans(), seed=st.integers(0, 2**32), after=st.integers(0, 12), crash=st.booleans())
def test_an_abort_ends_everything_and_comes_too_late_for_what_is_final(
    plan: Plan, seed: int, after: int, crash: bool
) -> None:
    it = world(state_of(plan, 1), graph.build(closure_of(plan)), outcomes(seed, 0.2), seed)
    it.begin()
    for _ in range(after):
        it.proceed()
    before = it.state.phase
    it.abort()
    if crash and not it.ended:
        it.crash()
    it.run()
    check_end(it)
    if before.terminal:
        assert it.state.phase is before
    elif before is ExecutionPhase.FAILING:
        assert it.state.phase is ExecutionPhase.FAILED
    else:
        assert it.state.phase is ExecutionPhase.ABORTED


@SETTINGS
@given(plan=plans(), seed=st.integers(0, 2**32))
def test_a_policy_that_goes_on_runs_all_that_does_not_depend_on_the_failure(plan: Plan, seed: int) -> None:
    plan = Plan(tuple(Step(s.name, s.needs, None, s.retries) for s in plan.steps), fail_immediately=False)
    it = world(state_of(plan, 1), graph.build(closure_of(plan)), outcomes(seed, 0.4), seed)
    it.begin()
    it.run()
    check_end(it)
    phases: dict[str, NodePhase] = {}
    for step in plan.steps:
        blocked = any(phases[need] is not NodePhase.SUCCEEDED for need in step.needs)
        good = fate(it, step.name, step.retries)
        phases[step.name] = NodePhase.SKIPPED if blocked else NodePhase.SUCCEEDED if good else NodePhase.FAILED
        assert it.nodes[step.name].phase is phases[step.name]


def test_the_cost_of_an_event_does_not_depend_on_the_size_of_the_graph() -> None:
    touched = {}
    for size in (100, 1_000, 10_000):
        plan = Plan(tuple(Step(f"n{number}") for number in range(size)))
        it = world(state_of(plan), graph.build(closure_of(plan)))
        it.begin()
        it.turn(m.Placed(*it.seeking[0], "executor", "life-1", "log"))
        touched[size] = it.touched
    assert len(set(touched.values())) == 1, touched


def test_attempts_of_a_retried_node_are_numbered_and_each_keeps_its_error() -> None:
    plan = Plan((Step("n0", retries=2),))
    fates = {0: "recoverable", 1: "system", 2: "succeed"}
    it = world(state_of(plan), graph.build(closure_of(plan)), lambda node, n: fates[n] if node == "n0" else "succeed")
    it.begin()
    it.run()
    assert it.state.phase is ExecutionPhase.SUCCEEDED
    phases = [it.attempts["n0", number].phase for number in range(3)]
    assert phases == [AttemptPhase.RETRYABLE_FAILED, AttemptPhase.RETRYABLE_FAILED, AttemptPhase.SUCCEEDED]
    assert all(it.attempts["n0", number].error for number in range(2))
