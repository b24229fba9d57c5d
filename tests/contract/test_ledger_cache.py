"""The cache and who may fill it, on every ledger."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from libs.store.cache import Cache
from libs.store.engine import open_async
from libs.store.ledger import Ledger
from libs.store.records import CacheAnswer, CacheRequest
from libs.workflow.errors import Fenced
from libs.workflow.phases import NodePhase
from libs.workflow.state import AbortBelow, Changes, Data, ExecutionState, Reservation
from tests.support import stored
from tests.support.ledgers import Bench

KEY = bytes(range(32))
OTHER = bytes(reversed(range(32)))
OUTPUTS = Data.of(b"outputs")
MINE = CacheAnswer(None, True)
THEIRS = CacheAnswer(None, False)


async def led(bench: Bench, *states: ExecutionState) -> int:
    await bench.submit(*states)
    return bench.ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)


def ask(bench: Bench, *requests: CacheRequest) -> Sequence[CacheAnswer]:
    return bench.ledger.look_up_cache(requests, 5)


def wish(execution_key: int, node_id: str = "n0", key: bytes = KEY) -> CacheRequest:
    return CacheRequest(key, execution_key, node_id, reserve=True)


def look(key: bytes = KEY) -> CacheRequest:
    return CacheRequest(key, 1, "n0", reserve=False)


async def test_what_is_not_in_the_cache_may_be_computed_by_whoever_does_not_ask_to_reserve(bench: Bench) -> None:
    await led(bench, stored.execution(1))
    assert ask(bench, look(), look(OTHER)) == [MINE, MINE]
    assert ask(bench) == []


async def test_outputs_are_found_by_everybody_after_their_commit(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state)
    large = Data.at("s3://bucket/outputs.pb", 1 << 40)
    bench.ledger.commit(0, epoch, [Changes(state, cached=[stored.entry(KEY), stored.entry(OTHER, outputs=large)])])
    assert ask(bench, look(), wish(2, key=OTHER), look(b"?" * 32)) == [
        CacheAnswer(OUTPUTS, True),
        CacheAnswer(large, True),
        MINE,
    ]


async def test_later_outputs_replace_earlier_ones_in_one_commit_too(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state)
    for contents in ((b"1",), (b"2", b"3")):
        entries = [stored.entry(KEY, outputs=Data.of(content)) for content in contents]
        bench.ledger.commit(0, epoch, [Changes(state, cached=entries)])
    assert ask(bench, look()) == [CacheAnswer(Data.of(b"3"), True)]


async def test_one_of_those_who_want_to_compute_a_value_may(bench: Bench) -> None:
    await led(bench, stored.execution(1), stored.execution(2))
    assert ask(bench, wish(1)) == [MINE]
    assert ask(bench, wish(2), wish(1, "n1")) == [THEIRS, THEIRS]
    assert ask(bench, wish(2, key=OTHER)) == [MINE]


async def test_whoever_has_the_right_keeps_it_when_it_asks_again(bench: Bench) -> None:
    await led(bench, stored.execution(1))
    assert ask(bench, wish(1)) == ask(bench, wish(1)) == [MINE]


async def test_of_two_who_ask_together_one_may(bench: Bench) -> None:
    await led(bench, stored.execution(1))
    assert sorted(ask(bench, wish(1, "n0"), wish(1, "n1"))) == [THEIRS, MINE]


async def test_a_released_reservation_is_free_for_the_next(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state, stored.execution(2), stored.execution(3))
    ask(bench, wish(1))
    bench.ledger.commit(0, epoch, [Changes(state, released=[Reservation(KEY, 1, "n0")])])
    assert ask(bench, wish(2)) == [MINE]
    assert ask(bench, wish(3)) == [THEIRS]


async def test_a_reservation_is_released_by_its_owner_only(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state, stored.execution(2))
    ask(bench, wish(1))
    released = [Reservation(KEY, 1, "n1"), Reservation(KEY, 2, "n0"), Reservation(OTHER, 1, "n0")]
    bench.ledger.commit(0, epoch, [Changes(state, released=released)])
    assert ask(bench, wish(2)) == [THEIRS]


async def test_a_reservation_outlives_a_node_that_still_works_and_is_taken_over_after_its_end(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state, stored.execution(2))
    ask(bench, wish(1))
    bench.ledger.commit(0, epoch, [stored.with_nodes(state, stored.node("n0"), stored.node("n1", NodePhase.FAILED))])
    assert ask(bench, wish(2)) == [THEIRS]
    bench.ledger.commit(0, epoch, [stored.with_nodes(state, stored.node("n0", NodePhase.FAILED))])
    assert ask(bench, wish(2)) == [MINE]
    assert ask(bench, wish(2, "n1")) == [THEIRS]


async def test_a_reservation_of_an_execution_that_has_ended_is_taken_over(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state, stored.execution(2))
    ask(bench, wish(1))
    bench.ledger.commit(0, epoch, [stored.ended(state)])
    assert ask(bench, wish(2)) == [MINE]


async def test_a_reservation_of_an_execution_that_does_not_exist_is_taken_over(bench: Bench) -> None:
    await led(bench, stored.execution(2))
    ask(bench, wish(99))
    assert ask(bench, wish(2)) == [MINE]


async def test_who_finds_outputs_reserves_nothing(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state, stored.execution(2), stored.execution(3))
    turn = Changes(state, cached=[stored.entry(KEY)])
    bench.ledger.commit(0, epoch, [turn])
    assert ask(bench, wish(2)) == [CacheAnswer(OUTPUTS, True)]


@pytest.mark.parametrize("aborts", [[], [AbortBelow("", "")]])
async def test_a_fenced_commit_fills_and_releases_nothing(bench: Bench, aborts: list[AbortBelow]) -> None:
    state = stored.execution(1)
    old = await led(bench, state, stored.execution(2))
    ask(bench, wish(1))
    bench.ledger.claim(0, "etcd-1", 11, "b", "b:1", 78)
    turn = Changes(state, cached=[stored.entry(KEY)], released=[Reservation(KEY, 1, "n0")], aborts=aborts)
    with pytest.raises(Fenced):
        bench.ledger.commit(0, old, [turn])
    assert ask(bench, look(), wish(2)) == [MINE, THEIRS]


async def test_everything_beside_the_state_travels_in_a_commit_with_an_abort(bench: Bench) -> None:
    state = stored.execution(1)
    epoch = await led(bench, state, stored.execution(2))
    ask(bench, wish(1, key=OTHER))
    awkward = bytes(range(256))
    entry = stored.entry(KEY, outputs=Data.of(awkward), node_id='it\'s \\ "n0" {1,2}, %s 🐝')
    turn = Changes(state, cached=[entry], released=[Reservation(OTHER, 1, "n0")], aborts=[AbortBelow("it's %s", "")])
    bench.ledger.commit(0, epoch, [turn])
    assert ask(bench, look(), wish(2, key=OTHER)) == [CacheAnswer(Data.of(awkward), True), MINE]


async def test_of_many_leaders_that_ask_at_once_one_may_compute_each_value(database_url: str) -> None:
    ledgers = [Ledger(database_url) for _ in range(4)]
    keys = [bytes([number]) * 32 for number in range(20)]

    def all_of(asker: int) -> Sequence[CacheAnswer]:
        # Every other one asks in the opposite order.
        ordered = keys if asker % 2 else list(reversed(keys))
        answers = ledgers[asker].look_up_cache([wish(1, f"n{asker}", key) for key in ordered], 5)
        return answers if asker % 2 else list(reversed(answers))

    await stored.submit(database_url, stored.record(1))
    with ThreadPoolExecutor(len(ledgers)) as threads:
        answers = list(threads.map(all_of, range(len(ledgers))))
    for ledger in ledgers:
        ledger.close()
    for each in zip(*answers, strict=True):
        assert sorted(each) == [THEIRS, THEIRS, THEIRS, MINE]


async def test_outputs_that_were_committed_since_the_first_look_are_found_and_nothing_stays_reserved(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored.submit(database_url, stored.record(1), stored.record(2), stored.record(3))
    leader, asker = Ledger(database_url), Ledger(database_url)
    epoch = leader.claim(0, "etcd-1", 10, "a", "a:1", 77)
    leader.look_up_cache([wish(1)], 5)
    begin = asker._database.transaction

    def after_the_commit() -> Any:
        turn = Changes(stored.execution(1), cached=[stored.entry(KEY)], released=[Reservation(KEY, 1, "n0")])
        leader.commit(0, epoch, [turn])
        return begin()

    monkeypatch.setattr(asker._database, "transaction", after_the_commit)
    assert asker.look_up_cache([wish(2)], 5) == [CacheAnswer(OUTPUTS, True)]
    monkeypatch.undo()
    await evict(database_url, KEY)
    assert asker.look_up_cache([wish(3)], 5) == [MINE]
    leader.close()
    asker.close()


async def evict(url: str, key: bytes) -> None:
    engine = open_async(url)
    assert await Cache(engine).evict(key) == 1
    await engine.dispose()
