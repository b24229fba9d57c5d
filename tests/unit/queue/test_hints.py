"""Passing hints on to those who watch."""

from __future__ import annotations

from services.queue.hints import Relay


async def test_every_watcher_hears_what_is_published_while_it_watches() -> None:
    relay = Relay(buffer_hints=10)
    relay.publish([(1, 2)])
    with relay.watcher() as one, relay.watcher() as other:
        relay.publish([(2, 2), (3, 4)])
        for watcher in (one, other):
            assert (await anext(watcher.hints), watcher.lagged()) == ([(2, 2), (3, 4)], False)


async def test_a_watcher_that_falls_behind_is_told_and_keeps_the_youngest() -> None:
    relay = Relay(buffer_hints=3)
    with relay.watcher() as watcher:
        relay.publish([(number, 2) for number in range(10)])
        assert (await anext(watcher.hints), watcher.lagged()) == ([(7, 2), (8, 2), (9, 2)], True)
        relay.publish([(10, 2)])
        assert (await anext(watcher.hints), watcher.lagged()) == ([(10, 2)], False)


async def test_nobody_is_kept_who_has_gone() -> None:
    relay = Relay(buffer_hints=3)
    with relay.watcher():
        pass
    relay.publish([(1, 2)])
    assert not relay._watchers
