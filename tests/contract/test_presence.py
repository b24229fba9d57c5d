"""Who is there, on a real etcd, and on a cluster of three that loses one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import etcd3
import pytest
import pytest_asyncio

from libs.election import Election, Presence, Survey, leader_key
from libs.workflow.errors import Unavailable
from services.standalone import ports
from services.standalone.etcd import Etcd, EtcdServer
from tests.chaos.members import MEMBERS, Members

TTL = 2
SLACK = 3.0

Replica = Callable[[str], tuple[Presence, asyncio.Event]]


@pytest.fixture
def own_etcd(etcd_binary: Etcd, tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd in which nobody else is."""
    server = EtcdServer(etcd_binary, tmp_path / "etcd")
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture
async def replica(own_etcd: EtcdServer) -> AsyncIterator[Replica]:
    """Makes replicas that are there until the event is set."""
    async with AsyncExitStack() as stack:

        def make(name: str) -> tuple[Presence, asyncio.Event]:
            presence = Presence([own_etcd.endpoint], replica=name, address=f"{name}:1", ttl_seconds=TTL)
            leaving = asyncio.Event()
            keeping = asyncio.create_task(presence.keep(leaving), name=f"presence of {name}")

            async def end() -> None:
                leaving.set()
                await keeping
                await presence.__aexit__()

            stack.push_async_callback(end)
            return presence, leaving

        yield make


async def sees(presence: Presence, *names: str, seconds: float = SLACK) -> Survey:
    """What a replica sees as soon as it sees these replicas and no others."""
    found: Survey | None = None
    try:
        async with asyncio.timeout(seconds):
            while found is None or found.replicas != set(names):
                try:
                    found = await presence.look()
                except Unavailable:
                    continue  # asked again at once: each look has etcd's own deadline
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not seen within {seconds} s: {names}, but {found}") from None
    return found


async def test_replicas_see_each_other_come_and_go(replica: Replica) -> None:
    (a, _), (b, b_leaves) = replica("a"), replica("b")
    await sees(a, "a", "b")
    await sees(b, "a", "b")
    b_leaves.set()
    await sees(a, "a", seconds=1.0)


async def test_one_look_tells_who_leads_which_shard(replica: Replica, own_etcd: EtcdServer) -> None:
    a, _ = replica("a")
    async with (
        Election([own_etcd.endpoint], key=leader_key(0), holder="a", address="a:1", ttl_seconds=TTL) as first,
        Election([own_etcd.endpoint], key=leader_key(11), holder="b", address="b:1", ttl_seconds=TTL) as twelfth,
    ):
        led = {0: await first.campaign(), 11: await twelfth.campaign()}
        found = (await sees(a, "a")).leaders
        assert {shard: (leader.holder, leader.address) for shard, leader in found.items()} == {
            0: ("a", "a:1"),
            11: ("b", "b:1"),
        }
        assert {shard: leader.create_revision for shard, leader in found.items()} == {
            shard: leadership.create_revision for shard, leadership in led.items()
        }
        await led[11].resign()
        assert (await sees(a, "a")).leaders.keys() == {0}


async def test_whoever_dies_is_there_until_its_lease_expires_and_not_for_longer(
    replica: Replica, own_etcd: EtcdServer
) -> None:
    a, _ = replica("a")
    code = f"""
import asyncio
from libs.election import Presence
async def main():
    presence = Presence([{own_etcd.endpoint!r}], replica="b", address="b:1", ttl_seconds={TTL})
    await presence.keep(asyncio.Event())
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    try:
        await sees(a, "a", "b", seconds=20.0)
    finally:
        process.kill()
        await process.wait()
    assert "b" in (await a.look()).replicas
    await sees(a, "a", seconds=TTL + SLACK)


async def test_whose_key_is_deleted_comes_back(replica: Replica, own_etcd: EtcdServer) -> None:
    (a, _), (b, _) = replica("a"), replica("b")
    await sees(a, "a", "b")
    host, _, port = own_etcd.endpoint.rpartition(":")
    with etcd3.client(host, int(port)) as other:
        other.delete("/airscrew/replicas/b")
    assert (await b.look()).replicas == {"a"}
    await sees(b, "a", "b")


async def test_without_etcd_nobody_knows_and_afterwards_all_come_back(replica: Replica, own_etcd: EtcdServer) -> None:
    (a, _), (b, _) = replica("a"), replica("b")
    await sees(a, "a", "b")
    own_etcd.stop()
    with pytest.raises(Unavailable):
        await a.look()
    await asyncio.to_thread(own_etcd.start)
    await sees(a, "a", "b", seconds=10.0)
    await sees(b, "a", "b", seconds=10.0)


async def test_the_loss_of_any_member_of_three_is_outlived(etcd_binary: Etcd, tmp_path: Path) -> None:
    members = Members(etcd_binary, tmp_path, set())
    members.peers |= {name: f"http://{ports.LOOPBACK}:{members.peer_ports[name]}" for name in MEMBERS}
    running = {name: await asyncio.create_subprocess_exec(*members.command(name)) for name in MEMBERS}
    endpoints = [f"{ports.LOOPBACK}:{members.client_ports[name]}" for name in MEMBERS]
    leaving = asyncio.Event()
    try:
        async with (
            Presence(endpoints, replica="a", address="a:1", ttl_seconds=TTL) as a,
            Presence(endpoints, replica="b", address="b:1", ttl_seconds=TTL) as b,
            asyncio.TaskGroup() as group,
        ):
            for presence in (a, b):
                group.create_task(presence.keep(leaving), name=f"presence of {presence.replica}")
            await sees(a, "a", "b", seconds=20.0)
            lost = await asyncio.to_thread(members.leader)
            assert lost is not None
            running[lost].kill()
            await sees(a, "a", "b", seconds=20.0)
            await sees(b, "a", "b", seconds=20.0)
            leaving.set()
    finally:
        for process in running.values():
            if process.returncode is None:
                process.kill()
            await process.wait()
