"""Recovery of random executions that failed or were aborted: the result is what it would have been, and nothing that
was achieved is done again.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from libs.workflow.phases import ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import NodeState
from tests.support.graphs import Plan, plans_below, steps_of
from tests.support.machine import World, world_of
from tests.support.oracle import all_is_well, expected, outcomes
from tests.support.random_plans import KINDS, plans

SETTINGS = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
ACHIEVED = (NodePhase.SUCCEEDED, NodePhase.RECOVERED)
# What is given as a signal depends on ids, which have the numbers of attempts in them.
PLANS = plans(kinds=tuple(kind for kind in KINDS if kind != "signal"))

Path = tuple[str, ...]


def tolerant(plan: Plan) -> bool:
    """Whether an array in it succeeds although items of it fail: then it is recovered as it was."""
    arrays = [step.array for below in plans_below(plan) for step in steps_of(below) if step.array]
    return any(array.successes is not None or array.ratio is not None for array in arrays)


def path_of(world: World, node: NodeState) -> Path:
    path = [node.spec_id]
    while node.parent_id:
        node = world.nodes[node.parent_id]
        path.insert(0, node.spec_id)
    return tuple(path)


def check_that_nothing_is_done_again(world: World) -> None:
    """Failure nodes are: they are called `f` everywhere."""
    old = world.store.worlds.get(world.state.recovers_key or 0)
    if old is None:
        return
    ends = (NodeKind.START, NodeKind.END)
    achieved = {path_of(old, node) for node in old.nodes.values() if node.phase in ACHIEVED and node.kind not in ends}
    for node in world.nodes.values():
        path = path_of(world, node)
        if "f" not in path and node.kind not in ends:
            covered = any(path[: length + 1] in achieved for length in range(len(path)))
            assert (node.phase is NodePhase.RECOVERED) == covered, f"{node.id} is {node.phase.name}"
            assert path[:-1] not in achieved, f"{node.id} is inside of what was recovered"


@SETTINGS
@given(
    plan=PLANS,
    seed=st.integers(0, 2**32),
    trouble=st.sampled_from([0.1, 0.3]),
    after=st.one_of(st.none(), st.integers(0, 40)),
    rounds=st.integers(0, 2),
)
def test_what_is_recovered_ends_as_if_it_had_never_failed(
    plan: Plan, seed: int, trouble: float, after: int | None, rounds: int
) -> None:
    assume(not tolerant(plan))
    it = world_of(plan, 2, outcomes(seed, trouble), seed, 0.2)
    dice = random.Random(seed)
    for _ in range(after or 0):
        it.proceed()
    if after is not None:
        it.abort()
    it.run()
    for number in range(rounds + 1):
        if it.state.phase is ExecutionPhase.SUCCEEDED:
            break
        it.store.outcome = all_is_well if number == rounds else outcomes(seed + number + 1, trouble)
        it = it.store.recover(it.state.key, it.state.key + 1)
        while it.proceed():
            if dice.random() < 0.1:
                for world in it.store.worlds.values():
                    if not world.state.phase.terminal:
                        world.forget()
    result = expected(plan, 2)
    assert it.state.phase is (ExecutionPhase.FAILED if result is None else ExecutionPhase.SUCCEEDED)
    assert result is None or it.result() == result
    for world in it.store.worlds.values():
        check_that_nothing_is_done_again(world)
        assert world.ended
        assert all(node.phase.terminal for node in world.nodes.values())
