"""Elections against a real etcd: who leads, until when, and who comes next."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import etcd3
import pytest
import pytest_asyncio

from libs.election.election import Election, Leadership
from libs.election.etcd import Access
from libs.workflow import errors
from services.standalone.etcd import Etcd, EtcdServer
from tests.support.waiting import until

TTL = 2
LONG_TTL = 60
"""Of leases whose end no test waits for."""
GRACE = 10.0
"""What a busy machine may take on top; how fast it is without that, `make takeover` measures."""

_numbers = itertools.count(1)

Candidate = Callable[..., Election]


def new_key() -> str:
    return f"/airscrew/test/{os.getpid()}/{next(_numbers)}/leader"


@pytest_asyncio.fixture
async def candidate(etcd: EtcdServer) -> AsyncIterator[Candidate]:
    """Makes candidates for one key, closed at the end."""
    key = new_key()
    async with AsyncExitStack() as stack:

        def make(holder: str, ttl: float = TTL) -> Election:
            election = Election([etcd.endpoint], key=key, holder=holder, address=f"{holder}:1", ttl_seconds=ttl)
            stack.push_async_callback(election.close)
            return election

        yield make


@pytest.fixture
def own_etcd(etcd_binary: Etcd, tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd that a test may stop and start."""
    server = EtcdServer(etcd_binary, tmp_path / "etcd")
    server.start()
    yield server
    server.stop()


async def within(seconds: float, campaign: asyncio.Task[Leadership]) -> Leadership:
    async with asyncio.timeout(seconds):
        return await campaign


def campaign(election: Election) -> asyncio.Task[Leadership]:
    return asyncio.create_task(election.campaign(), name=f"campaign of {election.holder}")


async def end(task: asyncio.Task[Leadership]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_of_two_candidates_one_leads_and_both_know_who(candidate: Candidate) -> None:
    a, b = candidate("a"), candidate("b")
    assert await a.leader() is None
    first = await a.campaign()
    second = campaign(b)
    await asyncio.sleep(TTL * 1.5)
    assert not second.done() and not first.lost.is_set()
    for each in (a, b):
        info = await each.leader()
        assert info is not None and info == ("a", "a:1", first.create_revision)
    await end(second)


async def test_many_candidates_at_once_make_one_leader(candidate: Candidate) -> None:
    campaigns = [campaign(candidate(f"c{number}")) for number in range(6)]
    await asyncio.wait(campaigns, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.6)
    assert sum(task.done() for task in campaigns) == 1
    for task in campaigns:
        await end(task)


async def test_a_leader_that_resigns_is_succeeded_long_before_its_lease_would_end_with_a_higher_revision(
    candidate: Candidate,
) -> None:
    a, b = candidate("a", LONG_TTL), candidate("b")
    first = await a.campaign()
    waiting = campaign(b)
    await asyncio.sleep(0.3)
    start = time.monotonic()
    await first.resign()
    assert first.lost.is_set() and first.deadline() < start
    second = await within(GRACE, waiting)
    assert second.create_revision > first.create_revision and second.cluster_id == first.cluster_id


async def test_closing_resigns(candidate: Candidate) -> None:
    a, b = candidate("a", LONG_TTL), candidate("b")
    leadership = await a.campaign()
    waiting = campaign(b)
    await a.close()
    assert leadership.lost.is_set()
    await within(GRACE, waiting)
    threads = [thread for thread in threading.enumerate() if thread.name == f"election-{a.key}"]
    assert len(threads) == 1, "the successor's"


async def test_a_leader_is_a_leader_for_as_long_as_it_likes(candidate: Candidate) -> None:
    leadership = await candidate("a").campaign()
    first_deadline = leadership.deadline()
    await asyncio.sleep(TTL * 2)
    assert not leadership.lost.is_set()
    assert leadership.deadline() > time.monotonic() and leadership.deadline() > first_deadline


async def test_a_blocked_event_loop_does_not_lose_the_lease(candidate: Candidate) -> None:
    leadership = await candidate("a").campaign()
    time.sleep(TTL * 1.5)
    assert leadership.deadline() > time.monotonic()
    await asyncio.sleep(0.05)
    assert not leadership.lost.is_set()


async def test_a_former_leader_can_lead_again_without_leaving_the_process(candidate: Candidate) -> None:
    a = candidate("a")
    revisions = []
    for _ in range(3):
        leadership = await a.campaign()
        revisions.append(leadership.create_revision)
        await leadership.resign()
        await leadership.resign()
    assert revisions == sorted(set(revisions))


async def test_campaigning_while_leading_is_refused(candidate: Candidate) -> None:
    a = candidate("a")
    await a.campaign()
    with pytest.raises(RuntimeError, match=r"leads .* already"):
        await a.campaign()


async def test_a_campaign_that_is_cancelled_leaves_nothing_behind(candidate: Candidate) -> None:
    # Wherever the cancellation hits, on the way to the lease, the key or the answer, another candidate wins at once.
    a, b = candidate("a"), candidate("b")
    for milliseconds in range(0, 24, 2):
        waiting = campaign(a)
        await asyncio.sleep(milliseconds / 1000)
        await end(waiting)
        if not waiting.cancelled():
            await waiting.result().resign()
        leadership = await within(1.0, campaign(b))
        await leadership.resign()


_LEADER_PROCESS = """
import asyncio, sys
from libs.election.election import Election

async def main():
    endpoint, key, ttl = sys.argv[1:]
    election = Election([endpoint], key=key, holder="process", address="p:1", ttl_seconds=int(ttl))
    leadership = await election.campaign()
    print(leadership.create_revision, flush=True)
    await leadership.lost.wait()
    print("lost", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def leader_process(etcd: EtcdServer) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that leads a key, and returns when it does."""
    processes: list[subprocess.Popen[str]] = []

    def start(key: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _LEADER_PROCESS, etcd.endpoint, key, str(TTL)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        assert process.stdout is not None and int(process.stdout.readline()) > 0
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


async def test_a_leader_that_is_killed_is_succeeded_when_its_lease_ends(
    candidate: Candidate, leader_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    b = candidate("b")
    process = leader_process(b.key)
    waiting = campaign(b)
    await asyncio.sleep(0.3)
    assert not waiting.done()
    process.kill()
    await within(TTL + GRACE, waiting)


async def test_a_leader_that_is_paused_has_lost_by_the_time_it_wakes(
    candidate: Candidate, leader_process: Callable[[str], subprocess.Popen[str]]
) -> None:
    b = candidate("b")
    process = leader_process(b.key)
    process.send_signal(signal.SIGSTOP)
    leadership = await within(TTL + GRACE, campaign(b))
    process.send_signal(signal.SIGCONT)
    assert process.stdout is not None
    assert await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 2) == "lost\n"
    await asyncio.sleep(0.5)
    assert not leadership.lost.is_set(), "whoever wakes up does not disturb the successor"


async def test_when_etcd_hangs_leadership_is_over_before_the_lease_could_expire(own_etcd: EtcdServer) -> None:
    async with Election([own_etcd.endpoint], key="/k", holder="a", address="a:1", ttl_seconds=TTL) as election:
        leadership = await election.campaign()
        assert own_etcd.pid is not None
        os.kill(own_etcd.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            # The last keep-alive that etcd can have seen was sent before it stopped.
            assert leadership.deadline() < stopped + TTL - 0.3
            async with asyncio.timeout(TTL + GRACE):
                await leadership.lost.wait()
            assert leadership.deadline() < stopped
            with pytest.raises(errors.Unavailable):
                await election.leader()
        finally:
            os.kill(own_etcd.pid, signal.SIGCONT)
        again = await within(TTL + GRACE, campaign(election))
        assert again.create_revision > leadership.create_revision


async def test_a_short_restart_of_etcd_costs_nobody_the_leadership(own_etcd: EtcdServer) -> None:
    async with Election([own_etcd.endpoint], key="/k", holder="a", address="a:1", ttl_seconds=15) as election:
        leadership = await election.campaign()
        await asyncio.to_thread(own_etcd.stop)
        await asyncio.to_thread(own_etcd.start)
        back = time.monotonic()
        # Only what was renewed since then lasts so long: the TTL without its margin, and without etcd's fractions.
        await until(lambda: leadership.deadline() > back + 15 * 0.8 - 1, "a renewal", 15)
        assert not leadership.lost.is_set()


async def test_after_a_long_outage_of_etcd_somebody_leads_again_with_a_higher_revision(own_etcd: EtcdServer) -> None:
    async with Election([own_etcd.endpoint], key="/k", holder="a", address="a:1", ttl_seconds=TTL) as election:
        leadership = await election.campaign()
        await asyncio.to_thread(own_etcd.stop)
        async with asyncio.timeout(TTL + GRACE):
            await leadership.lost.wait()
        waiting = campaign(election)
        await asyncio.sleep(1)
        assert not waiting.done()
        await asyncio.to_thread(own_etcd.start)
        again = await within(TTL + GRACE, waiting)
        assert again.create_revision > leadership.create_revision and again.cluster_id == leadership.cluster_id


async def test_a_lease_that_was_revoked_by_others_is_noticed_at_the_next_keep_alive(
    candidate: Candidate, etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    leadership = await candidate("a").campaign()
    host, _, port = etcd.endpoint.rpartition(":")
    with etcd3.client(host, int(port)) as other:
        other.revoke_lease(leadership._tenure.lease_id)
    async with asyncio.timeout(TTL + GRACE):
        await leadership.lost.wait()
    assert "its lease is gone" in caplog.text, "and not only when the deadline passes"


async def test_a_key_that_was_deleted_by_others_is_noticed_at_the_next_keep_alive(
    candidate: Candidate, etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    a = candidate("a")
    leadership = await a.campaign()
    host, _, port = etcd.endpoint.rpartition(":")
    with etcd3.client(host, int(port)) as other:
        other.delete(a.key)
    async with asyncio.timeout(TTL + GRACE):
        await leadership.lost.wait()
    assert "its key was deleted" in caplog.text, "and not only when the deadline passes"


async def test_an_endpoint_that_does_not_answer_costs_no_leadership(etcd: EtcdServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # accepts, and never says anything
        port = deaf.getsockname()[1]
        endpoints = [f"127.0.0.1:{port}", "127.0.0.1:1", etcd.endpoint]
        async with Election(endpoints, key=new_key(), holder="a", address="a:1", ttl_seconds=3) as election:
            leadership = await within(3.0, campaign(election))
            await asyncio.sleep(3.5)
            assert not leadership.lost.is_set() and leadership.deadline() > time.monotonic()


class LosesTheAnswer:
    """A TCP relay to etcd that can drop the server's answers while it lets requests through."""

    def __init__(self, endpoint: str) -> None:
        self._target = endpoint.rpartition(":")
        self.mute_after: bytes | None = None
        self._mute = False

    async def __aenter__(self) -> LosesTheAnswer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._target[0], int(self._target[2]))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, up_writer), name="relay up")
                group.create_task(self._down(up_reader, writer), name="relay down")
        except* OSError:
            pass
        finally:
            up_writer.close()
            writer.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.mute_after is not None and self.mute_after in data:
                self._mute = True
                self.mute_after = None
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._mute:  # the request is done by now, its answer gets lost with the connection
                self._mute = False
                break
            writer.write(data)
            await writer.drain()
        writer.close()


async def test_a_claim_whose_answer_is_lost_is_found_out_by_reading_back(etcd: EtcdServer) -> None:
    async with LosesTheAnswer(etcd.endpoint) as relay:
        relay.mute_after = b'"holder"'  # the value in the claim's transaction
        async with Election([relay.endpoint], key=new_key(), holder="a", address="a:1", ttl_seconds=TTL) as election:
            leadership = await within(TTL, campaign(election))
            assert relay.mute_after is None, "the answer was lost"
            info = await election.leader()
            assert info is not None and info.create_revision == leadership.create_revision
            await asyncio.sleep(TTL * 1.2)
            assert not leadership.lost.is_set()


async def test_an_old_server_is_refused_where_that_is_wanted(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("libs.election.etcd.MINIMUM_VERSION", (99, 0, 0))
    for refuse in (True, False):
        access = Access((etcd.endpoint,), refuse_old_servers=refuse)
        async with Election(access, key=new_key(), holder="a", address="a:1", ttl_seconds=TTL) as election:
            if refuse:
                with pytest.raises(errors.FailedPrecondition, match=r"is older than 99\.0\.0"):
                    await election.campaign()
            else:
                await election.campaign()
                assert "is older than 99.0.0" in caplog.text


async def test_something_else_under_the_key_is_nobody_we_know(candidate: Candidate, etcd: EtcdServer) -> None:
    a = candidate("a")
    host, _, port = etcd.endpoint.rpartition(":")
    with etcd3.client(host, int(port)) as other:
        other.put(a.key, json.dumps(["?"]))
        with pytest.raises(errors.Internal, match="holds something else"):
            await a.leader()
        other.delete(a.key)
