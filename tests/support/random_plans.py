"""Random workflows with nodes of every kind, at any nesting."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.support.graphs import SIGNS, Arm, Branch, Gate, Plan, Step

KINDS = ("task", "task", "task", "inside", "launch", "dynamic", "branch", "approve", "signal", "sleep")


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
        tame = tuple(kind for kind in kinds if kind in ("task", "inside", "launch", "dynamic"))
        failure = draw(_steps(min(depth, 1), "f", f"{name}.f", [], tame))
    limit = draw(st.sampled_from([0, 0, 1, 2])) if parallel else 0
    return Plan(tuple(steps), draw(st.booleans()), name, limit, failure)


@st.composite
def _steps(draw: st.DrawFn, depth: int, name: str, below: str, earlier: list[str], kinds: tuple[str, ...]) -> Step:
    needs = tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3))) if earlier else ()
    plain = Step(name, needs, retries=draw(st.integers(0, 2)))
    kind = draw(st.sampled_from([kind for kind in kinds if depth > 0 or kind not in ("inside", "launch", "dynamic")]))
    if kind == "inside":
        return replace(plain, inside=draw(plans(depth - 1, below, kinds)))
    if kind == "launch":
        return replace(plain, launch=draw(plans(depth - 1, below, kinds)))
    if kind == "dynamic":
        return replace(plain, dynamic=draw(plans(depth - 1, below, kinds)))
    if kind == "branch":
        return replace(plain, branch=draw(_branches(depth, name, below, earlier, kinds)))
    if kind == "approve":
        return replace(plain, gate=Gate(approve=draw(st.sampled_from(["a0", "a1", "a2"]))))
    if kind == "signal":
        return replace(plain, gate=Gate(signal=draw(st.sampled_from(["s0", "s1", "s2"]))))
    if kind == "sleep":
        return replace(plain, gate=Gate(sleep_us=draw(st.sampled_from([0, 500, 10_000_000]))))
    return plain


@st.composite
def _branches(draw: st.DrawFn, depth: int, name: str, below: str, earlier: list[str], kinds: tuple[str, ...]) -> Branch:
    loud = tuple(kind for kind in kinds if kind != "sleep" and (depth > 0 or kind != "branch"))
    arms = []
    for number in range(draw(st.integers(1, 3))):
        step = draw(_steps(max(depth - 1, 0), f"{name}-c{number}", f"{below}.{number}", earlier, loud))
        arms.append(Arm(step, draw(st.sampled_from(sorted(SIGNS))), draw(st.integers(-3, 6))))
    if draw(st.booleans()):
        return Branch(tuple(arms), "nothing holds")
    step = draw(_steps(0, f"{name}-else", f"{below}.else", earlier, ("task",)))
    return Branch((*arms, Arm(step)))
