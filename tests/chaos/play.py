"""One run: load, faults at random moments, and the verdict on what really happened."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import checker, faults
from tests.chaos.faults import Fault, Scene, now_us
from tests.chaos.load import LANES, LENGTH, Load
from tests.chaos.stage import LEASE_TTL_SECONDS, Stage

RECOVERY_SECONDS = 60.0
"""When nothing has been committed for so long after a fault is over, it never will."""
FINISH_SECONDS = 180.0
TAKEOVER_SECONDS = LEASE_TTL_SECONDS + 2.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long one fault was felt."""

    fault: Fault
    seconds: float
    """From the fault to the next commit; of the next leader where there must be one."""


@dataclass(slots=True)
class Verdict:
    """What came out of a run."""

    broken: list[str] = field(default_factory=list)
    """What must not be, on any machine."""
    slow: list[str] = field(default_factory=list)
    """Take-overs that took longer than they may where the processes get the processor time that they need."""
    recoveries: list[Recovery] = field(default_factory=list)
    executions: int = 0
    attempts: int = 0
    repeated: int = 0
    """Starts of second and later attempts: the price of lost executors."""
    epochs: int = 0
    died: dict[str, int] = field(default_factory=dict)

    def seconds(self, *, takeover: bool) -> list[float]:
        return sorted(each.seconds for each in self.recoveries if each.fault.ends_leadership is takeover)


def play(
    stage: Stage, folder: Path, drawn: Sequence[Fault], dice: random.Random, workflows: int, say: Callable[[str], None]
) -> Verdict:
    """Lets each of the faults happen under load and judges. Raises AssertionError when the system does not go on."""
    verdict = Verdict()
    load = Load(stage.endpoint, folder, at_once=6, at_least=workflows)
    load.start()
    _await(lambda: bool(load.marks.ends()), "no task has come to its end")
    for number, fault in enumerate(drawn, 1):
        if fault is faults.DISK_FULL and stage.disk.why_not:
            say(f"{number:3} {fault.name}: left out, {stage.disk.why_not}")
            continue
        time.sleep(dice.uniform(0.0, 1.0))
        verdict.recoveries.append(_happen(stage, fault, dice, lambda told, n=number: say(f"{n:3} {told}")))  # type: ignore[misc]
    load.stop()
    _await(lambda: stage.history.unfinished() == 0, f"not all have finished: {_open(stage)}", FINISH_SECONDS)
    _judge(stage, load, verdict)
    return verdict


def _happen(stage: Stage, fault: Fault, dice: random.Random, say: Callable[[str], None]) -> Recovery:
    leader = stage.history.leader()
    assert leader is not None
    scene = Scene(stage, dice, leader.holder, leader.epoch)
    fault.do(scene)
    healed_us = now_us()
    above = leader.epoch if fault.ends_leadership else -1
    _await(
        lambda: (
            stage.history.first_commit(scene.struck_us, above) is not None
            and stage.history.first_commit(healed_us) is not None
        ),
        f"nothing is committed after: {scene.told}",
        RECOVERY_SECONDS,
    )
    commit = stage.history.first_commit(scene.struck_us, above)
    assert commit is not None
    recovery = Recovery(fault, (commit.at_us - scene.struck_us) / 1e6)
    say(f"{recovery.seconds:6.2f} s  {'; '.join(scene.told)}")
    return recovery


def _judge(stage: Stage, load: Load, verdict: Verdict) -> None:
    history = stage.history
    commits, steps = history.commits(), history.steps()
    starts, ends = load.marks.starts(), load.marks.ends()
    verdict.broken += [
        *checker.nothing_lost(load.accepted, history.executions()),
        *checker.every_task_ran(load.accepted, ends, LANES * LENGTH),
        *checker.started_once(starts),
        *checker.nothing_again(starts, steps),
        *checker.succeeded_once(steps),
        *checker.epochs_rise(commits),
        *history.broken(),
        *(f"refused: {each}" for each in load.refused),
    ]
    verdict.slow = [
        f"take-over took {seconds:.2f} s, of {TAKEOVER_SECONDS:g} s"
        for seconds in verdict.seconds(takeover=True)
        if seconds > TAKEOVER_SECONDS
    ]
    verdict.executions = len(load.accepted)
    verdict.attempts = len(starts)
    verdict.repeated = sum(start.attempt > 0 for start in starts)
    verdict.epochs = sum(commit.kind == "claim" for commit in commits)
    verdict.died = dict(stage.died)


def shown(verdict: Verdict) -> str:
    """The figures for people."""
    by_fault: dict[str, list[float]] = defaultdict(list)
    for each in verdict.recoveries:
        by_fault[each.fault.name].append(each.seconds)
    lines = [
        f"{verdict.executions} executions accepted, {verdict.attempts} attempts started, {verdict.repeated} of them"
        f" repetitions, {verdict.epochs} claims",
        "seconds from a fault to the next commit (of the next leader, where one must follow):",
        *(f"  {name:<28} {_distribution(values)}" for name, values in sorted(by_fault.items())),
        f"  {'all take-overs':<28} {_distribution(verdict.seconds(takeover=True))}",
        f"  {'all others':<28} {_distribution(verdict.seconds(takeover=False))}",
    ]
    if verdict.died:
        lines.append(f"ended although nobody asked: {verdict.died}")
    lines += [f"BROKEN: {each}" for each in verdict.broken]
    lines += [f"SLOW: {each}" for each in verdict.slow]
    return "\n".join(lines)


def _distribution(values: Sequence[float]) -> str:
    if not values:
        return "none"
    ranked = sorted(values)

    def at(share: float) -> float:
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]

    return f"n {len(ranked):4}  p50 {at(0.5):6.2f}  p90 {at(0.9):6.2f}  p99 {at(0.99):6.2f}  max {ranked[-1]:6.2f}"


def _open(stage: Stage) -> str:
    return f"{stage.history.unfinished()} open"


def _await(condition: Callable[[], bool], failure: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{failure}, after {seconds:.0f} s"
        time.sleep(0.02)
