"""Wires the front door: stores, clients, nouns, services, ports; and stops them in order.

Stopping (P9): not serving → streams end → running requests finish within the grace → the HTTP side closes → submissions
are answered → keys are flushed to the queue → connections close.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from libs import blob
from libs.clients import intakes as intake_clients
from libs.clients.propeller import Propellers
from libs.clients.queue import Enqueuer, Operator, Subscriber
from libs.rpc import server as rpc
from libs.runtime.clock import Clock
from libs.runtime.process import Life
from libs.store import installation
from libs.store import intakes as intake_store
from libs.store.cache import Cache
from libs.store.engine import check_schema, open_async
from libs.store.executions import Executions
from libs.store.registry import Registry
from libs.store.signals import Signals
from libs.store.stories import Stories
from libs.store.trees import Trees
from libs.telemetry.metrics import Metering
from libs.telemetry.traces import Tracing
from services.admin import api, meters, web
from services.admin.artifacts import Artifacts
from services.admin.data import Literals
from services.admin.ears import Ears
from services.admin.explain import Explainer
from services.admin.gates import Gates
from services.admin.hints import Hints
from services.admin.intakes import Intakes
from services.admin.launch import Launcher
from services.admin.logtail import LogTail
from services.admin.projects import Projects
from services.admin.registry import Registration
from services.admin.settings import AdminSettings
from services.admin.signing import Signer
from services.admin.spans import Spans
from services.admin.submission import Limits, Submitter
from services.admin.takeover import TakeOvers
from services.admin.targets import Targets
from services.admin.uploads import Uploads
from services.admin.watch import Watch


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running front door can be reached, as `host:port`."""

    grpc: str
    http: str


async def serve(settings: AdminSettings, life: Life) -> None:
    """Serves until `life.stopping`."""
    async with running(settings, life.clock, life.tracing, life.metering):
        await life.stopping.wait()


@asynccontextmanager
async def running(
    settings: AdminSettings, clock: Clock, tracing: Tracing, metering: Metering | None = None
) -> AsyncIterator[Addresses]:
    """A front door that serves for the length of the block. Raises when the database is not as it must be."""
    engine = open_async(settings.database)
    try:
        await check_schema(engine)
        await asyncio.to_thread(installation.agree_on_shards, settings.database, settings.shards)
        hints = Hints()
        async with (
            Enqueuer(settings.queue) as enqueuer,
            Propellers() as propellers,
            Ears(propellers, hints) as ears,
            Subscriber(settings.queue, ears.follow) as subscriber,
        ):
            metering = metering or Metering()
            door = _Door(settings, clock, tracing, metering, engine, enqueuer, propellers, hints)
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(_hear(subscriber, door.hints), name="hear hints")
                if metering.enabled:
                    board = meters.board(metering, door.hints, ears, enqueuer)
                    showing = group.create_task(board.watch(), name="meters")
                    hearing.add_done_callback(lambda _: showing.cancel())
                addresses = await door.open()
                try:
                    yield addresses
                finally:
                    await door.close()
                    hearing.cancel()
    finally:
        await engine.dispose()


async def _hear(subscriber: Subscriber, hints: Hints) -> None:
    async for news in subscriber:
        if news.lagged:
            hints.tell_all()
        else:
            hints.tell(news.hints)


class _Door:
    """Everything between the clients' ports and the stores."""

    def __init__(
        self,
        settings: AdminSettings,
        clock: Clock,
        tracing: Tracing,
        metering: Metering,
        engine: AsyncEngine,
        enqueuer: Enqueuer,
        propellers: Propellers,
        hints: Hints,
    ) -> None:
        self._settings = settings
        self._store = blob.open(settings.blob)
        self._bound = web.bind(settings.http_listen)
        self._http_address = web.address_of(self._bound, settings.http_listen)
        self._signer = Signer(settings.signing_key.encode(), settings.http_url or f"http://{self._http_address}")
        self._executions = Executions(engine)
        self._trees = Trees(engine)
        self._taken = intake_clients.Intakes(settings.queue)
        self._queue = Operator(settings.queue)
        self.hints = hints
        self._files = web.Files(
            self._store, self._signer, clock, upload_bytes=settings.upload_bytes, uploads=settings.uploads
        )
        self._server = self._grpc(clock, tracing, metering, engine, enqueuer, propellers)

    async def open(self) -> Addresses:
        """Listens, and says that it serves."""
        address = await self._server.start()
        self._runner = await web.serve(self._files, self._bound)
        self._server.ready()
        return Addresses(address, self._http_address)

    async def close(self) -> None:
        """Stops in the order of the module's docstring."""
        self._server.not_serving()
        self.hints.close()
        await self._server.stop(self._settings.stop_grace_seconds)
        await self._runner.cleanup()
        await self._executions.close()
        await self._taken.close()
        await self._queue.close()

    def _grpc(
        self,
        clock: Clock,
        tracing: Tracing,
        metering: Metering,
        engine: AsyncEngine,
        enqueuer: Enqueuer,
        propellers: Propellers,
    ) -> rpc.Server:
        settings, executions, trees = self._settings, self._executions, self._trees
        registry = Registry(engine)
        projects = Projects(registry, clock, settings.domains)
        registration = Registration(registry, projects, clock, settings.task_backend)
        literals = Literals(
            self._store,
            self._signer,
            clock,
            shown_bytes=settings.shown_bytes,
            address_seconds=settings.address_seconds,
        )
        limits = Limits(settings.shards, settings.inline_bytes, settings.inputs_bytes)
        targets, spans = Targets(registration), Spans(tracing, clock, os.urandom)
        submitter = Submitter(executions, targets, self._store, enqueuer, spans, clock, os.urandom, limits)
        launcher = Launcher(executions, targets, projects, self._store, enqueuer, submitter, clock, os.urandom, limits)
        uploads = Uploads(
            self._store, self._signer, projects, clock, os.urandom, address_seconds=settings.address_seconds
        )
        gates = Gates(Signals(engine), self._store.root, enqueuer, clock)
        stories = Stories(engine)
        explainer = Explainer(executions, stories, trees, registry, propellers, clock)
        artifacts = Artifacts(executions, self._store, literals)
        return rpc.build(
            settings.listen,
            services=api.registrars(
                api.AdminApi(registration, launcher, executions, projects, literals, trees, clock),
                api.DataProxyApi(uploads, artifacts, address_seconds=settings.address_seconds),
                api.SignalApi(gates),
                api.AirscrewApi(
                    executions,
                    trees,
                    gates,
                    Cache(engine),
                    Watch(executions, self.hints, clock),
                    LogTail(executions, self._store, self.hints),
                    Intakes(intake_store.Intakes(engine), registration, projects, self._taken, clock),
                    self._queue,
                    explainer,
                    stories,
                    propellers,
                    launcher,
                    settings.shards,
                    TakeOvers(stories, propellers, settings.shards, clock),
                ),
            ),
            max_message_bytes=settings.message_bytes,
            metering=metering,
        )
