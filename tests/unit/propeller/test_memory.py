"""Hot state leaves a leader's memory at once when an execution has ended, whatever was in it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from contextvars import Context
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, FunctionType, ModuleType
from typing import Any

from libs.wire.session import Ack, ReportPhase
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution, LiveNode
from libs.workflow.phases import ExecutionPhase
from services.propeller.store import LeaderStore
from tests.support.graphs import Plan, Step
from tests.support.terms import leading
from tests.support.waiting import until

PLAN = Plan((Step("n0"), Step("n1", ("n0",)), Step("n2", (), Plan((Step("n0"),), name="inner"))))
TASKS = ("n0", "n1", "n2-0-n0", "n2-0-sum", "sum")
FIRST_KEY = 7_000_000_001  # a number that nothing else is
EXECUTIONS = 10
NOT_THROUGH = (
    *(type, ModuleType, FunctionType, LeaderStore, int, str, bytes),
    Ack,  # of an end: they gather until there is something else to tell the executor
    *(asyncio.AbstractEventLoop, asyncio.Future, asyncio.TaskGroup, CoroutineType, AsyncGeneratorType, Context),
)


def alive(kind: type[Any]) -> int:
    """How many objects of a class there are in this process."""
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


def numbers_within(start: Any, wanted: Iterable[int]) -> dict[int, str]:
    """Those of these numbers that can be reached from an object, each with a way there. Neither through the store, nor
    through what runs: that leads to the test itself.
    """
    wanted, found = frozenset(wanted), dict[int, str]()
    ways = {id(start): "term"}
    left = [start]
    while left:
        each = left.pop()
        way = ways[id(each)]
        if type(each) is int and each in wanted:
            found[each] = way
        if isinstance(each, NOT_THROUGH):
            continue
        for inner in gc.get_referents(each):
            if (id(inner) not in ways and gc.is_tracked(inner)) or type(inner) is int:
                ways[id(inner)] = f"{way}.{type(inner).__name__}"
                left.append(inner)
    return found


async def test_nothing_of_a_finished_execution_is_left_in_memory(tmp_path: Path) -> None:
    before = alive(Execution), alive(LiveNode)
    keys = range(FIRST_KEY, FIRST_KEY + EXECUTIONS)
    async with leading(tmp_path, executor_grace_seconds=60.0) as it:
        executor = it.connect("e1", cores=1000)
        it.submit(PLAN, *keys)
        await until(lambda: len(it.term.library) == EXECUTIONS, "the first turns")
        assert alive(Execution) == before[0] + EXECUTIONS
        assert numbers_within(it.term, keys).keys() == set(keys), "the search finds what there is"
        for node in TASKS:
            for key in keys:
                attempt = AttemptId(key, node, 0)
                await until(lambda attempt=attempt: attempt in executor.session.known, f"{attempt}")
                executor.report(attempt, ReportPhase.RUNNING, 1)
                executor.report(attempt, ReportPhase.SUCCEEDED, 2)
        for key in keys:
            await it.phase(key, ExecutionPhase.SUCCEEDED)
        executor.sent.clear()
        await until(lambda: not executor.session.known and not it.term.reconciler.busy, "the acknowledgements")
        assert (alive(Execution), alive(LiveNode)) == before
        assert numbers_within(it.term, keys) == {}
