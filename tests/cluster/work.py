"""What runs while the cluster is disturbed: plain flytekit, as users write it.

Four lanes of steps that each take a while. What comes out says how many steps there were, and on which machines.
"""

import socket
import time
from dataclasses import dataclass
from typing import NamedTuple

from flytekit import task, workflow

LANES = 4
STEPS = 5


@dataclass
class Trace:
    total: int
    hosts: list[str]


class Result(NamedTuple):
    total: int
    hosts: list[str]


@task
def step(before: Trace, seconds: float) -> Trace:
    time.sleep(seconds)
    return Trace(before.total + 1, [*before.hosts, socket.gethostname()])


@task
def begin(start: int) -> Trace:
    return Trace(start, [])


@task
def together(lanes: list[Trace]) -> Result:
    return Result(sum(lane.total for lane in lanes), [host for lane in lanes for host in lane.hosts])


@workflow
def lanes(start: int = 0, seconds: float = 1.0) -> Result:
    ends = []
    for _ in range(LANES):
        lane = begin(start=start)
        for _ in range(STEPS):
            lane = step(before=lane, seconds=seconds)
        ends.append(lane)
    return together(lanes=ends)


@workflow
def pair(start: int = 0, seconds: float = 1.0) -> Result:
    """Two lanes of one step: what is enough where each task takes a pod of its own."""
    first = step(before=begin(start=start), seconds=seconds)
    second = step(before=begin(start=start), seconds=seconds)
    return together(lanes=[first, second])
