"""What must hold of a history, whatever went wrong. Each rule answers with what breaks it, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from libs.workflow.phases import AttemptPhase, ExecutionPhase
from tests.chaos.history import Commit, Step
from tests.support.markers import Mark


def nothing_lost(accepted: Iterable[str], found: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """Every accepted execution has succeeded."""
    for name in accepted:
        if name not in found:
            yield f"{name} was accepted and is not there"
        elif found[name][0] != ExecutionPhase.SUCCEEDED:
            phase, error = found[name]
            yield f"{name} is {ExecutionPhase(phase).name} {error}"


def every_task_ran(accepted: Iterable[str], ends: Sequence[Mark], tasks: int) -> Iterator[str]:
    """Whatever the rows say, the tasks themselves have come to their ends."""
    done: dict[str, set[str]] = defaultdict(set)
    for end in ends:
        done[_name(end)].add(end.node)
    for name in accepted:
        if len(done[name]) != tasks:
            yield f"{name}: {len(done[name])} of {tasks} tasks have ended"


def started_once(starts: Sequence[Mark]) -> Iterator[str]:
    """No attempt number was started twice."""
    seen: dict[tuple[str, str, int], int] = {}
    for start in starts:
        if (first := seen.setdefault(start.attempt_id, start.pid)) != start.pid:
            yield f"attempt {start.attempt} of {_name(start)}/{start.node} was started by {first} and by {start.pid}"


def nothing_again(starts: Sequence[Mark], steps: Sequence[Step]) -> Iterator[str]:
    """What has been committed as done is not started any more: neither this attempt nor a later one.

    An earlier one may be: an executor that was stopped between the message and the start finds out late that it was
    given up. Its results are nobody's.
    """
    done = {
        (step.execution, step.node): (step.attempt, step.at_us)
        for step in reversed(steps)
        if step.phase == AttemptPhase.SUCCEEDED
    }
    for start in starts:
        attempt, at_us = done.get((_name(start), start.node), (0, None))
        if at_us is not None and start.attempt >= attempt and start.at * 1e6 > at_us:
            yield f"{_name(start)}/{start.node} had succeeded and attempt {start.attempt} was started"


def succeeded_once(steps: Sequence[Step]) -> Iterator[str]:
    """One attempt of a task succeeds, no second one."""
    attempts: dict[tuple[str, str], set[int]] = defaultdict(set)
    for step in steps:
        if step.phase == AttemptPhase.SUCCEEDED:
            attempts[step.execution, step.node].add(step.attempt)
    for (execution, node), numbers in attempts.items():
        if len(numbers) > 1:
            yield f"{execution}/{node} succeeded in attempts {sorted(numbers)}"


def epochs_rise(commits: Sequence[Commit]) -> Iterator[str]:
    """In the order of commits a shard's epochs never fall, a claim raises them, and only who leads it writes."""
    epochs: dict[int, int] = {}
    for commit in commits:
        epoch = epochs.get(commit.shard, -1)
        if commit.epoch < epoch or (commit.kind == "claim" and commit.epoch == epoch):
            yield f"{commit} after epoch {epoch}"
        if commit.writer != commit.holder:
            yield f"{commit.writer} wrote while {commit.holder} led in epoch {commit.epoch}"
        epochs[commit.shard] = max(epoch, commit.epoch)


def _name(mark: Mark) -> str:
    """`load-7` of `<project>-<domain>-load-7`."""
    return "load-" + mark.execution.rpartition("-load-")[2]
