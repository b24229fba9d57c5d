"""Small random workflows with nodes of every kind, what becomes of each of their tasks, and what must come of all.

What becomes of a task depends on where it stands in its workflow and on how often it has failed by its user's fault,
never on the numbers of its attempts: those that are lost to faults must not change the result.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import dynamic_job_pb2, interface_pb2, tasks_pb2, types_pb2

from libs.store.records import LaunchPlanRecord
from libs.workflow.identity import EntityId
from tests.support import kinds, templates
from tests.support.graphs import SIGNS, Arm, Array, Branch, Gate, Plan, Step, closure_of, plans_below, steps_of
from tests.support.memory_ledger import MemoryStore
from tests.support.oracle import Outcome

_KINDS = (
    *("task", "task", "task", "task", "task", "task", "cached", "cached", "patient"),
    *("inside", "launch", "launch", "dynamic", "branch", "array", "approve", "signal", "sleep", "sleep"),
)
_NESTED = ("inside", "launch")
CACHED = "k"
"""The names of cached tasks begin so. They succeed, for their results are others' too."""
_ATTEMPT = re.compile(r"-\d+-")


class Planner:
    """Draws plans. Their names are those of nobody else's."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._names = itertools.count()

    def plan(self, depth: int = 2) -> Plan:
        dice = self._dice
        name = f"w{next(self._names)}"
        steps: list[Step] = []
        for number in range(dice.randint(1, 5 if depth == 2 else 3)):
            steps.append(self._step(depth, f"n{number}", [step.name for step in steps]))
        failure = self._step(0, "f", [], ("task",)) if dice.random() < 0.2 else None
        limit = dice.choice([0, 0, 0, 1, 2])
        return Plan(tuple(steps), dice.random() < 0.5, name, limit, failure)

    def _step(self, depth: int, name: str, earlier: list[str], among: tuple[str, ...] = _KINDS) -> Step:
        dice = self._dice
        needs = tuple(dice.sample(earlier, min(len(earlier), dice.randint(0, 2))))
        plain = Step(name, needs, retries=dice.randint(0, 2))
        kind = dice.choice([kind for kind in among if depth > 0 or kind not in _NESTED])
        if kind == "inside":
            return replace(plain, inside=self.plan(depth - 1))
        if kind == "launch":
            return replace(plain, launch=self.plan(depth - 1))
        if kind == "dynamic":
            return replace(plain, dynamic=self._chain())
        if kind == "branch":
            return replace(plain, branch=self._branch(name, earlier))
        if kind == "array":
            return replace(plain, array=self._array())
        if kind == "cached":
            return replace(plain, name=name.replace("n", CACHED), cache="1", serialized=dice.random() < 0.7)
        if kind == "patient":
            return replace(plain, retries=2, backoff="2s")
        if kind == "approve":
            return replace(plain, gate=Gate(approve=dice.choice(["a0", "a1"])))
        if kind == "signal":
            return replace(plain, gate=Gate(signal=dice.choice(["s0", "s1"])))
        if kind == "sleep":
            return replace(plain, gate=Gate(sleep_us=dice.choice([0, 1_000_000, 10_000_000])))
        return plain

    def _chain(self) -> Plan:
        """What a dynamic task asks for: tasks one after the other."""
        names = [f"n{number}" for number in range(self._dice.randint(1, 3))]
        steps = [Step(name, tuple(names[place - 1 : place])) for place, name in enumerate(names)]
        return Plan(tuple(steps), name=f"w{next(self._names)}")

    def _branch(self, name: str, earlier: list[str]) -> Branch:
        dice = self._dice
        among = ("task", "task", "signal")
        arms = [
            Arm(self._step(0, f"{name}-c{number}", earlier, among), dice.choice(sorted(SIGNS)), dice.randint(-3, 6))
            for number in range(dice.randint(1, 2))
        ]
        if dice.random() < 0.5:
            return Branch(tuple(arms), "nothing holds")
        return Branch((*arms, Arm(self._step(0, f"{name}-else", earlier, ("task",)))))

    def _array(self) -> Array:
        dice = self._dice
        item = self._step(0, "item", [], ("task",))
        return Array(
            item,
            {"x": [dice.randint(-3, 6) for _ in range(dice.randint(0, 4))]},
            sliced=dice.random() < 0.5,
            parallelism=dice.choice([0, 0, 1]),
            ratio=dice.choice([None, None, 0.5]),
        )


def register(store: MemoryStore, plan: Plan, gpus: int) -> None:
    """Makes a plan, and all that it launches, known. Its tasks want so many gpus each."""
    launched = [step.launch for below in plans_below(plan) for step in steps_of(below) if step.launch]
    for below in [plan, *launched]:
        id = EntityId("p", "d", below.name, "v")
        closure = closure_of(below)
        for task in closure.tasks if gpus else ():
            task.template.container.resources.requests.add(name=tasks_pb2.Resources.GPU, value=str(gpus))
        store.register(id, closure.SerializeToString())
        store.register_launch_plan(_launch_plan(id, below))


def _launch_plan(id: EntityId, plan: Plan) -> LaunchPlanRecord:
    inputs, outputs = interface_pb2.ParameterMap(), interface_pb2.VariableMap()
    inputs.parameters["x"].var.type.simple = types_pb2.INTEGER
    inputs.parameters["x"].required = True
    outputs.variables["o"].type.simple = types_pb2.INTEGER
    spec = launch_plan_pb2.LaunchPlanSpec(max_parallelism=plan.max_parallelism)
    return LaunchPlanRecord(
        id=id,
        workflow=id,
        digest=b"digest",
        spec=spec.SerializeToString(),
        expected_inputs=inputs.SerializeToString(),
        expected_outputs=outputs.SerializeToString(),
        state=1,
        created_at_us=1,
        updated_at_us=1,
    )


def asked_for(chain: Plan, given: int) -> dynamic_job_pb2.DynamicJobSpec:
    """What a dynamic task leaves that asks for a chain."""
    nodes = [templates.node(step.name, "add", x=f"{step.needs[0]}.o" if step.needs else given) for step in chain.steps]
    return dynamic_job_pb2.DynamicJobSpec(
        nodes=nodes, outputs=templates.bindings({"o": f"{chain.steps[-1].name}.o"}), tasks=[kinds.task("add", image="")]
    )


# -------------------------------------------------------------------------------------------------- what becomes of it


def fate(seed: str, path: str) -> str:
    """How a task goes on: `succeed`, `fatal`, or how often it fails before it succeeds."""
    own = re.split(r"[-/]", path)[-1]
    if own == "sum" or own.startswith(CACHED):
        return "succeed"
    dice = random.Random(f"{seed}/{_ATTEMPT.sub('-*-', path)}")
    draw = dice.random()
    if draw < 0.02:
        return "fatal"
    return str(dice.randint(1, 2)) if draw < 0.15 else "succeed"


def outcome_of(seed: str) -> Outcome:
    """The same as the oracle understands it."""

    def outcome(path: str, attempt: int) -> str:
        if path.endswith(" graph"):
            return "succeed"
        if "signal " in path:
            return "fatal" if random.Random(f"{seed}/{path}").random() < 0.1 else "succeed"
        chosen = fate(seed, path)
        if chosen.isdigit():
            return "recoverable" if attempt < int(chosen) else "succeed"
        return chosen

    return outcome
