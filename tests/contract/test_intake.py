"""What an intake guarantees, on a real Redis: once with a list, once with a stream."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from flyteidl.core import literals_pb2

from libs.workflow.errors import Internal, InvalidArgument, Unavailable
from libs.workflow.intake import Codec, Intake, Kind, Progress
from tests.support.intakes import KEY, FakeFront, crash, intake, looking, push, runner, running
from tests.support.redis import RedisServer


@pytest.fixture(params=list(Kind), ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


async def settled(taken: Intake, done: int, dead: int = 0, seconds: float = 15.0) -> Progress:
    """Waits until so many items are executions and so many given up, and nothing is left."""
    async with asyncio.timeout(seconds), looking(taken) as line:
        while True:
            try:
                found = await line.progress()
            except Unavailable:
                found = Progress()
            if (found.done, found.dead, found.waiting, found.claimed) == (done, dead, 0, 0):
                return found
            await asyncio.sleep(0.02)


async def test_each_item_becomes_one_execution(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    push(redis_server, kind, *({"x": x} for x in range(50)))
    async with running(taken, front):
        await settled(taken, 50)
        push(redis_server, kind, *({"x": x} for x in range(50, 60)))
        await settled(taken, 60)
    assert front.xs == list(range(60)) and front.calls == 60


async def test_items_that_are_alike_are_items_of_their_own(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    push(redis_server, kind, {"x": 1}, {"x": 1}, {"x": 1})
    async with running(taken, front):
        await settled(taken, 3)
    assert front.xs == [1, 1, 1]


async def test_items_that_name_themselves_alike_are_one(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind, id_field="order"), FakeFront()
    push(redis_server, kind, {"x": 1, "order": "a"}, {"x": 2, "order": "b"}, {"x": 1, "order": "a"})
    async with running(taken, front):
        await settled(taken, 3)
    assert front.xs == [1, 2]


async def test_serialized_literals_are_taken_in(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind, codec=Codec.LITERALS), FakeFront()
    inputs = literals_pb2.LiteralMap()
    inputs.literals["x"].scalar.primitive.integer = 200
    push(redis_server, kind, inputs.SerializeToString())
    async with running(taken, front):
        await settled(taken, 1)
    assert list(front.created.values()) == [inputs]


async def test_an_item_is_let_go_of_only_when_its_execution_is_durable(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    front.away = Unavailable("starting")
    push(redis_server, kind, {"x": 1}, {"x": 2})
    async with running(taken, front), looking(taken) as line:
        async with asyncio.timeout(5):
            while front.calls < 4:
                await asyncio.sleep(0.01)
        found = await line.progress()
        assert (found.claimed, found.done, found.dead) == (2, 0, 0)
        front.away = None
        await settled(taken, 2)
    assert front.xs == [1, 2]


async def test_an_execution_that_was_created_although_its_answer_was_lost_is_not_created_again(
    redis_server: RedisServer, kind: Kind
) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    dice = random.Random(1)
    front.lost = lambda: Unavailable("connection reset") if dice.random() < 0.5 else None
    push(redis_server, kind, *({"x": x} for x in range(20)))
    async with running(taken, front):
        await settled(taken, 20)
    assert front.xs == list(range(20)) and front.calls > 20


async def test_poison_is_given_up_with_its_reason_and_replayed_when_somebody_says_so(
    redis_server: RedisServer, kind: Kind
) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    push(redis_server, kind, "no JSON", "[1]", '{"x": "three"}', '{"y": 3}', b"\xff\x00", {"x": 7})
    async with running(taken, front), looking(taken) as line:
        await settled(taken, 1, dead=5)
        dead = sorted(await line.dead(10), key=lambda item: item.claim)
        assert [item.item for item in dead] == [b"no JSON", b"[1]", b'{"x": "three"}', b'{"y": 3}', b"\xff\x00"]
        for item, words in zip(dead, ("no JSON", "object", "inputs.x", "inputs.y", "no JSON"), strict=True):
            assert words in item.reason, item
        oldest = [item.claim for item in await line.dead(2)]
        assert await line.replay(2) == 2
        await settled(taken, 1, dead=5)
        # They are as wrong as they were, and the latest now.
        assert sorted(item.claim for item in (await line.dead(5))[3:]) == sorted(oldest)


async def test_what_admin_refuses_is_given_up_and_what_fails_is_tried_several_times_before(
    redis_server: RedisServer, kind: Kind
) -> None:
    taken, front = intake(redis_server, kind, tries=3), FakeFront()
    front.away = InvalidArgument("inputs.x: is missing")
    push(redis_server, kind, {})
    async with running(taken, front), looking(taken) as line:
        await settled(taken, 0, dead=1)
        assert front.calls == 1
        front.away = Internal("a bug of ours")
        push(redis_server, kind, {"x": 2})
        await settled(taken, 0, dead=2)
        assert front.calls == 1 + 3
        reasons = [item.reason for item in await line.dead(10)]
        assert reasons[0] == "inputs.x: is missing" and "3 times: a bug of ours" in reasons[1]
        front.away = None
        assert await line.replay(0) == 2
        await settled(taken, 2)
    assert len(front.created) == 2


async def test_a_replayed_item_that_had_become_an_execution_after_all_does_not_become_another(
    redis_server: RedisServer, kind: Kind
) -> None:
    taken, front = intake(redis_server, kind, tries=1), FakeFront()
    front.lost = lambda: Internal("after the commit")
    push(redis_server, kind, {"x": 1})
    async with running(taken, front), looking(taken) as line:
        await settled(taken, 0, dead=1)
        await line.replay(0)
        await settled(taken, 1)
    assert front.xs == [1]


async def test_there_are_never_more_unfinished_executions_than_the_limit(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind, limit=5), FakeFront()
    push(redis_server, kind, *({"x": x} for x in range(12)))
    async with running(taken, front), looking(taken) as line:
        for ended in (0, 5, 7):
            front.ended = ended
            async with asyncio.timeout(10):
                while len(front.created) < min(12, ended + 5):
                    await asyncio.sleep(0.01)
        assert len(front.created) == 12
        async with asyncio.timeout(5):
            while "limit is 5" not in (await line.progress()).note:
                await asyncio.sleep(0.05)
    assert front.most_pending == 5


async def test_nobody_else_takes_in_while_one_does_however_long_it_takes(redis_server: RedisServer, kind: Kind) -> None:
    taken, front, other = intake(redis_server, kind), FakeFront(), FakeFront()
    front.admit.clear()
    push(redis_server, kind, {"x": 1})
    async with running(taken, front, "a", lease_seconds=0.5), looking(taken) as line:
        async with asyncio.timeout(5):
            while (await line.progress()).claimed == 0:
                await asyncio.sleep(0.01)
        async with running(taken, other, "b", lease_seconds=0.5):
            await asyncio.sleep(1.2)  # more than twice the lease
            assert other.calls == 0 and (await line.progress()).runner == "a"
            front.admit.set()
            await settled(taken, 1)
    assert front.xs == [1] and other.calls == 0


async def test_what_one_had_claimed_when_it_died_the_next_one_settles(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    front.admit.clear()
    push(redis_server, kind, *({"x": x} for x in range(20)))
    dying = runner(taken, front, "a", lease_seconds=0.5)
    task = asyncio.create_task(dying.run())
    async with looking(taken) as line:
        async with asyncio.timeout(5):
            while (await line.progress()).claimed < 8:
                await asyncio.sleep(0.01)
    await crash(dying, task)
    front.admit.set()
    async with running(taken, front, "b", lease_seconds=0.5):
        await settled(taken, 20)
    assert front.xs == list(range(20))


async def test_one_that_is_told_to_stop_lets_another_one_in_at_once(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    async with running(taken, front, "a", lease_seconds=60.0):
        push(redis_server, kind, {"x": 1})
        await settled(taken, 1)
    push(redis_server, kind, {"x": 2})
    async with running(taken, front, "b", lease_seconds=60.0):
        await settled(taken, 2, seconds=5.0)


async def test_redis_may_be_killed_at_any_moment(redis_server: RedisServer, kind: Kind) -> None:
    taken, front = intake(redis_server, kind), FakeFront()
    push(redis_server, kind, *({"x": x} for x in range(300)))
    dice = random.Random(7)
    async with running(taken, front, lease_seconds=1.0):
        for kill in range(1, 5):
            async with asyncio.timeout(20):
                while len(front.created) < kill * 50 + dice.randrange(10):
                    await asyncio.sleep(0.001)
            redis_server.restart()
        await settled(taken, 300)
    assert front.xs == list(range(300))


async def test_a_key_of_another_type_is_told_and_waited_for(redis_server: RedisServer, kind: Kind) -> None:
    redis_server.client.set(KEY, "a text")
    taken, front = intake(redis_server, kind), FakeFront()
    async with running(taken, front), looking(taken) as line:
        async with asyncio.timeout(5):
            while "WRONGTYPE" not in await said(taken):
                await asyncio.sleep(0.05)
        redis_server.client.delete(KEY)
        push(redis_server, kind, {"x": 1})
        await settled(taken, 1)
        assert (await line.progress()).dead == 0
    assert front.xs == [1]


async def said(taken: Intake) -> str:
    """What the runner says, whatever its source is."""
    async with looking(taken) as line:
        status = await line._connection.redis.get(line._keys[-1])
        return str(json.loads(status)["note"]) if status else ""
