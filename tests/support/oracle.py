"""What comes of a plan, read literally from top to bottom: no events, no order, no state."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

from libs.workflow.retry import RetryPolicy
from tests.support.graphs import Array, Gate, Plan, Step, reads

OUTCOMES = ("succeed", "succeed", "succeed", "recoverable", "fatal", "system", "lost", "reject", "hand back")

Outcome = Callable[[str, int], str]
"""What becomes of an attempt, by the path of its node and its number. A path leads through executions: the nodes that
launched them, and the node's own id.
"""


def all_is_well(path: str, attempt: int) -> str:
    return "succeed"


def outcomes(seed: int, trouble: float) -> Outcome:
    """What becomes of each attempt: fixed by the seed, whatever the order of events."""

    def outcome(path: str, attempt: int) -> str:
        dice = random.Random(f"{seed}/{path}/{attempt}")
        return dice.choice(OUTCOMES) if dice.random() < trouble else "succeed"

    return outcome


def fate(outcome: Outcome, path: str, retries: int) -> int | None:
    """The attempt of a task node that succeeds, if one does: the retry rules, read literally."""
    policy = RetryPolicy(max_attempts=retries + 1)
    user = system = attempt = 0
    while True:
        became = outcome(path, attempt)
        if became == "succeed":
            return attempt
        if became == "fatal":
            return None
        if became == "recoverable":
            user += 1
            if user >= policy.max_attempts:
                return None
        elif became in ("system", "lost"):
            system += 1
            if system > policy.system_retries:
                return None
        attempt += 1


def approved(outcome: Outcome, path: str, signal: str) -> bool:
    """Whether a person approves what an execution asks for under the id of a signal."""
    return outcome(f"{path}signal {signal}", 0) != "fatal"


def answered(path: str, signal: str) -> int:
    """The number that is given as a signal."""
    return sum(f"{path}{signal}".encode()) % 7 - 3


def buildable(outcome: Outcome, path: str, attempt: int) -> bool:
    """Whether what an attempt of a dynamic node has asked for makes a graph."""
    return outcome(f"{path} graph", attempt) != "fatal"


def expected(plan: Plan, x: int, outcome: Outcome = all_is_well, path: str = "", prefix: str = "") -> int | None:
    """The output of a plan; None if it fails. `path` leads to its execution, `prefix` begins its nodes' ids."""
    values: dict[str, int | None] = {}
    good = True
    for step in plan.steps:
        values[step.name] = _value(step, plan, values, x, outcome, path, prefix)
        good &= values[step.name] is not None
    if not good or fate(outcome, f"{path}{prefix}sum", 0) is None:
        return None
    return sum(values[sink] or 0 for sink in plan.sinks if sink not in plan.silent)


def _value(
    step: Step, plan: Plan, values: dict[str, int | None], x: int, outcome: Outcome, path: str, prefix: str
) -> int | None:
    """The output of a step, 0 where it has none; None if it fails or is skipped."""
    if any(values[need] is None for need in step.all_needs):
        return None
    sources = reads(step, plan)
    given = sum(values[source] or 0 for source in sources) if sources else x
    if step.array is not None:
        return _array(step, step.array, sum(values[source] or 0 for source in sources), outcome, path, prefix)
    if step.branch is not None:
        for arm in step.branch.arms:
            if not arm.sign or _holds(given, arm.sign, arm.number):
                return _value(arm.step, plan, values, x, outcome, path, f"{prefix}{step.name}-0-")
        return None
    return _computed(step, given, outcome, path, prefix)


def _computed(step: Step, given: int, outcome: Outcome, path: str, prefix: str) -> int | None:
    """The output of a step that has been given a number."""
    node_id = f"{prefix}{step.name}"
    if step.inside is not None:
        return expected(step.inside, given, outcome, path, f"{node_id}-0-")
    if step.launch is not None:
        return expected(step.launch, given, outcome, f"{path}{node_id}/")
    if step.gate is not None:
        return _gate(step.gate, given, outcome, path)
    attempt = fate(outcome, f"{path}{node_id}", step.retries)
    if attempt is None or step.dynamic is None:
        return None if attempt is None else given + 1
    if not buildable(outcome, f"{path}{node_id}", attempt):
        return None
    return expected(step.dynamic, given, outcome, path, f"{node_id}-{attempt}-")


def _array(step: Step, array: Array, added: int, outcome: Outcome, path: str, prefix: str) -> int | None:
    """The sum of what the items compute, if enough of them do."""
    numbers = array.numbers["x"]
    results = [
        _computed(
            replace(array.item, name=f"n{position}", retries=max(array.item.retries, step.retries)),
            number + (added if array.item.plain else 0),
            outcome,
            path,
            f"{prefix}{step.name}-0-",
        )
        for position, number in enumerate(numbers)
    ]
    good = [result for result in results if result is not None]
    needed = len(numbers)
    if array.successes is not None:
        needed = array.successes
    elif array.ratio is not None:
        needed = math.ceil(array.ratio * len(numbers))
    return sum(good) if len(good) >= needed else None


def _gate(gate: Gate, given: int, outcome: Outcome, path: str) -> int | None:
    if gate.sleep_us is not None:
        return 0
    if gate.approve:
        return given if approved(outcome, path, gate.approve) else None
    return answered(path, gate.signal)


def _holds(left: int, sign: str, right: int) -> bool:
    return {
        "==": left == right,
        "!=": left != right,
        ">": left > right,
        ">=": left >= right,
        "<": left < right,
        "<=": left <= right,
    }[sign]
