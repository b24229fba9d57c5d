"""Random workflows with nodes of every kind, at any nesting."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.support.graphs import SIGNS, Arm, Array, Branch, Gate, Plan, Step

NESTED = ("inside", "launch", "dynamic")
KINDS = ("task", "task", "task", "inside", "launch", "dynamic", "branch", "array", "approve", "signal", "sleep")


@st.composite
def plans(
    draw: st.DrawFn, depth: int = 2, name: str = "wf", kinds: tuple[str, ...] = KINDS, parallel: bool = True
) -> Plan:
    """A plan of up to five steps; those that hold plans hold smaller ones."""
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 5 if depth == 2 else 3))):
        earlier = [step.name for step in steps]
        steps.append(draw(_steps(depth, f"n{number}", f"{name}.{number}", earlier, kinds)))
    failure = None
    if draw(st.integers(0, 2)) == 0:
        failure = draw(_steps(min(depth, 1), "f", f"{name}.f", [], _tame(kinds)))
    limit = draw(st.sampled_from([0, 0, 1, 2])) if parallel else 0
    return Plan(tuple(steps), draw(st.booleans()), name, limit, failure)


@st.composite
def _steps(draw: st.DrawFn, depth: int, name: str, below: str, earlier: list[str], kinds: tuple[str, ...]) -> Step:
    needs = tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3))) if earlier else ()
    plain = Step(name, needs, retries=draw(st.integers(0, 2)))
    kind = draw(st.sampled_from([kind for kind in kinds if depth > 0 or kind not in NESTED]))
    if kind == "inside":
        return replace(plain, inside=draw(plans(depth - 1, below, kinds)))
    if kind == "launch":
        return replace(plain, launch=draw(plans(depth - 1, below, kinds)))
    if kind == "dynamic":
        return replace(plain, dynamic=draw(plans(depth - 1, below, kinds)))
    if kind == "branch":
        return replace(plain, branch=draw(_branches(depth, name, below, earlier, kinds)))
    if kind == "array":
        return replace(plain, array=draw(_arrays(depth, below, kinds)))
    if kind == "approve":
        return replace(plain, gate=Gate(approve=draw(st.sampled_from(["a0", "a1", "a2"]))))
    if kind == "signal":
        return replace(plain, gate=Gate(signal=draw(st.sampled_from(["s0", "s1", "s2"]))))
    if kind == "sleep":
        return replace(plain, gate=Gate(sleep_us=draw(st.sampled_from([0, 500, 10_000_000]))))
    return plain


def _tame(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return ("task", *(kind for kind in NESTED if kind in kinds))


@st.composite
def _arrays(draw: st.DrawFn, depth: int, below: str, kinds: tuple[str, ...]) -> Array:
    item = draw(_steps(max(depth - 1, 0), "item", f"{below}.item", [], _tame(kinds)))
    numbers = draw(st.lists(st.integers(-3, 6), max_size=4))
    return Array(
        item,
        {"x": numbers},
        sliced=not item.plain or draw(st.booleans()),
        parallelism=draw(st.sampled_from([0, 0, 1, 2])),
        ratio=draw(st.sampled_from([None, 0.0, 0.5, 1.0])),
        successes=draw(st.sampled_from([None, None, 1])),
        run_all=draw(st.booleans()),
    )


@st.composite
def _branches(draw: st.DrawFn, depth: int, name: str, below: str, earlier: list[str], kinds: tuple[str, ...]) -> Branch:
    numbers = tuple(kind for kind in kinds if kind not in ("sleep", "array") and (depth > 0 or kind != "branch"))
    arms = []
    for number in range(draw(st.integers(1, 3))):
        step = draw(_steps(max(depth - 1, 0), f"{name}-c{number}", f"{below}.{number}", earlier, numbers))
        arms.append(Arm(step, draw(st.sampled_from(sorted(SIGNS))), draw(st.integers(-3, 6))))
    if draw(st.booleans()):
        return Branch(tuple(arms), "nothing holds")
    step = draw(_steps(0, f"{name}-else", f"{below}.else", earlier, ("task",)))
    return Branch((*arms, Arm(step)))
