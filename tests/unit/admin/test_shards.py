"""What is told of shards and executors where several leaders know a part of it each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from libs.store.records import LeaderRow
from libs.workflow.errors import NotFound, Unavailable
from protos import airscrew_pb2, executor_pb2, propeller_pb2
from services.admin.api.executors import ExecutorCalls
from services.admin.api.shards import ShardCalls

Told = propeller_pb2.StatusReply.Executor


def executor(name: str, attempts: int, *, draining: bool = False, connected: bool = True, silent_us: int = 5) -> Told:
    return Told(
        executor=name,
        attempts=attempts,
        capacity=executor_pb2.Resources(cpu_millis=8000),
        used=executor_pb2.Resources(cpu_millis=1000 * attempts),
        draining=draining,
        connected=connected,
        silent_us=silent_us,
    )


class Leaders(ShardCalls, ExecutorCalls):
    """Two of three shards are led, by replicas `a` and `b`; `b` does not answer."""

    def __init__(self, shards: int, executors: dict[tuple[str, int], list[Told]]) -> None:
        self._shards = shards
        self._told = executors
        self._stories: Any = self
        self._propellers: Any = self
        self.drained: list[str] = []

    async def leader(self, shard: int) -> LeaderRow | None:
        rows = {0: "a", 1: "b", 2: "a"}
        if shard not in rows:
            return None
        return LeaderRow(shard, 10 + shard, "etcd", 1, rows[shard], f"{rows[shard]}:1", 77)

    async def look(self, address: str, shard: int) -> propeller_pb2.StatusReply | None:
        known = self._told.get((address, shard))
        if known is None:
            return None
        return propeller_pb2.StatusReply(leading=True, executions=5, pending_attempts=3, cold=1, executors=known)

    async def executors(self, address: str, shard: int) -> Sequence[Told]:
        return self._told[address, shard]

    async def drain(self, address: str, name: str, grace_us: int) -> None:
        if name not in {each.executor for (at, _), told in self._told.items() if at == address for each in told}:
            raise NotFound(name)
        self.drained.append(address)


async def test_each_shard_is_told_with_what_its_leader_says_or_without() -> None:
    leaders = Leaders(4, {("a:1", 0): [executor("x", 1), executor("y", 0, connected=False)], ("a:1", 2): []})
    shards = (await leaders.ListShards(airscrew_pb2.ListShardsRequest(), None)).shards
    assert [(each.shard, each.holder, each.epoch, each.leading) for each in shards] == [
        (0, "a", 10, True),
        (1, "b", 11, False),
        (2, "a", 12, True),
        (3, "", 0, False),
    ]
    assert (shards[0].executions, shards[0].pending_attempts, shards[0].cold, shards[0].executors) == (5, 3, 1, 1)
    assert shards[1].executions == 0


async def test_an_executor_of_several_leaders_is_told_once_with_what_all_have_there() -> None:
    leaders = Leaders(
        3,
        {
            ("a:1", 0): [executor("x", 2, silent_us=9), executor("y", 1)],
            ("b:1", 1): [executor("x", 3, draining=True, silent_us=4)],
            ("a:1", 2): [executor("x", 0, connected=False)],
        },
    )
    x, y = (await leaders.ListExecutors(airscrew_pb2.ListExecutorsRequest(), None)).executors
    assert (x.executor, x.attempts, x.used.cpu_millis, x.capacity.cpu_millis) == ("x", 5, 5000, 8000)
    assert (x.draining, x.connected, x.silent_us) == (True, True, 4)
    assert (y.executor, y.attempts) == ("y", 1)


async def test_an_executor_is_drained_through_whichever_leader_knows_it() -> None:
    leaders = Leaders(3, {("a:1", 0): [], ("b:1", 1): [executor("x", 3)], ("a:1", 2): []})
    await leaders.DrainExecutor(propeller_pb2.DrainRequest(executor="x"), None)
    assert leaders.drained == ["b:1"]
    with pytest.raises(NotFound, match="not connected"):
        await leaders.DrainExecutor(propeller_pb2.DrainRequest(executor="z"), None)


async def test_executors_are_not_listed_while_a_shard_has_no_leader() -> None:
    with pytest.raises(Unavailable, match="nobody leads shard 3"):
        await Leaders(4, {("a:1", 0): [], ("b:1", 1): [], ("a:1", 2): []}).ListExecutors(
            airscrew_pb2.ListExecutorsRequest(), None
        )
