"""The main routines of the simulated processes: the product's parts, wired as its own `app` modules wire them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from libs.clients.queue import Enqueuer, Key, Publisher, Reason, WorkFeed
from libs.runtime.together import within
from libs.telemetry.traces import Tracing
from libs.wire import codec
from libs.wire.session import Hello
from services.executor.api import PropellerClient
from services.executor.attempt import Workbench
from services.executor.attempts import Attempts
from services.executor.backlog import BACKLOG
from services.executor.journal import Journal
from services.executor.results import Storage
from services.executor.session import Desk, Sessions
from services.executor.settings import ExecutorSettings
from services.executor.slots import SlotPool
from services.propeller.api import PropellerApi
from services.propeller.ends import Ends
from services.propeller.leadership import Leadership
from services.propeller.settings import PropellerSettings
from services.propeller.shards import Shards
from services.propeller.spans import Spans
from services.propeller.term import Term
from services.queue.api import Queue
from services.queue.hints import Relay
from services.queue.shards import Shards as QueueShards
from services.queue.spans import Spans as QueueSpans
from tests.support.simulation.etcd import Election, Presence
from tests.support.simulation.loop import Process
from tests.support.simulation.machines import Machine, MemoryBlobs, MemoryLog
from tests.support.simulation.tasks import Tasks, WatchedSpool, kind_of

if TYPE_CHECKING:
    from tests.support.simulation.world import World

QUEUE = "queue"
TOKEN = "token"
LEASE_SECONDS = 5
GRACE_SECONDS = 5.0


async def propeller(world: World, process: Process, machine: Machine) -> None:
    """As `services.propeller.app`, without the ports that nobody dials."""
    settings = PropellerSettings(
        listen=process.name,
        database="",
        blob=MemoryBlobs.root,
        etcd=(),
        session_token=TOKEN,
        queue=QUEUE,
        identity=process.name,
        lease_ttl_seconds=LEASE_SECONDS,
        executor_grace_seconds=GRACE_SECONDS,
        heartbeat_seconds=1.0,
        sweep_seconds=10.0,
        project_limits={"p": str(world.project_limit)} if world.project_limit else {},
        shards=world.shards,
    )
    numbers = itertools.count()
    store = world.mutation.leader_store(
        world, process, lambda: world.mutation.ledger(world, f"{process.name}.{next(numbers)}")
    )
    publisher = Publisher(QUEUE, connect=world.network.connect)

    def new_term(shard: int, epoch: int, leading: Callable[[], bool]) -> Term:
        world.note(f"{process} leads shard {shard} in epoch {epoch}")
        return Term(
            shard=shard,
            epoch=epoch,
            settings=settings,
            store=store,
            blob=MemoryBlobs(world.bucket, process),
            feed=lambda shard, epoch: WorkFeed(QUEUE, shard, epoch, process.name, connect=world.network.connect),
            ends=Ends(publisher),
            clock=machine.clock,
            spans=Spans(Tracing()),
            leading=leading,
        )

    def leadership(shard: int) -> Leadership:
        election: Any = Election(
            world.etcd, process, machine.clock, str(shard), process.name, process.name, LEASE_SECONDS
        )
        return Leadership(shard, election, store, machine.clock, partial(new_term, shard))

    presence = Presence(world.etcd, process, machine.clock, process.name, LEASE_SECONDS) if world.shards > 1 else None
    shards = Shards(list(map(leadership, range(world.shards))), presence, machine.clock, 2 * LEASE_SECONDS)
    world.leading[process.name] = shards
    world.network.listen(process.name, process, PropellerApi(settings, shards, die=_nobody_asks_for_that))
    async with publisher:
        await shards.run(world.stopping_of(process))
    await store.close()


def _nobody_asks_for_that() -> None:
    raise AssertionError("the world kills processes itself")


async def queue(world: World, process: Process, machine: Machine) -> None:
    """As `services.queue.app`."""
    shards = QueueShards(10_000, first_lease=machine.clock.now_us())
    service = Queue(shards, Relay(1000), QueueSpans(Tracing(), machine.clock), machine.clock)
    world.network.listen(QUEUE, process, service)
    await world.stopping_of(process).wait()
    service.stop()


async def executor(world: World, process: Process, machine: Machine) -> None:
    """As `services.executor.app`."""
    settings = ExecutorSettings(
        propellers=tuple(world.propellers),
        session_token=TOKEN,
        blob=MemoryBlobs.root,
        data_dir=Path("/data"),
        storage_patience_seconds=20.0,
    )

    def open_log(path: Path) -> Any:
        return MemoryLog(machine, path, process)

    incarnation = world.incarnations[process.name] = f"{process.name}-{world.next_life()}"
    journal = Journal(Path("journal"), incarnation, open_log)
    for lost in journal.lost:
        journal.end(lost.id)
    tasks = Tasks(world, process)
    spool = WatchedSpool(
        tasks, Path("spool"), settings.spool_limit_bytes, codec.report_to_bytes, codec.report_from_bytes, open_log
    )
    slots = SlotPool(
        world.capacity.cpu_millis, world.capacity.memory_bytes, tuple(map(str, range(world.capacity.gpus)))
    )
    clock = machine.clock
    unused: Any = SimpleNamespace(scratch=lambda id: Path("/nowhere"))
    bench = Workbench(
        settings=settings,
        clock=clock,
        tracing=Tracing(),
        storage=Storage(MemoryBlobs(world.bucket, process), settings.storage_patience_seconds),
        processes=cast(Any, tasks),
        environments=unused,
        platform=unused,
        secrets=unused,
        directory=unused,
        journal=journal,
    )
    introduction = Hello(
        process.name,
        incarnation,
        slots.capacity,
        backlog=BACKLOG,
        former=journal.former,
        begun=tuple(lost.id for lost in journal.lost),
    )
    disk: Any = machine
    async with asyncio.TaskGroup() as group:
        attempts = Attempts(bench, slots, spool, disk, group, kind_of)
        client = PropellerClient(TOKEN, world.network.connect)
        desk = Desk(settings.propellers, client, attempts, journal, disk, introduction, settings.dial_seconds)
        dialling = group.create_task(Sessions(desk).run(), name="sessions")
        await world.stopping_of(process).wait()
        attempts.drain()
        attempts.hand_back()
        await attempts.idle()
        await within(settings.flush_seconds, attempts.flushed())
        dialling.cancel()


async def admin(world: World, process: Process, machine: Machine) -> None:
    """Accepts executions, answers what they ask of people, aborts some, and hints at it all, not always."""
    async with Enqueuer(QUEUE, connect=world.network.connect) as enqueuer:

        def hint(key: int, reason: Reason) -> None:
            for _ in range(world.dice.choice(world.hints)):
                shard = world.store.executions[key].shard
                enqueuer.enqueue(Key(key, shard, "p", reasons=reason, delay_us=world.dice.choice([0, 0, 300_000])))

        world.hint = hint
        await world.stopping_of(process).wait()
