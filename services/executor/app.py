"""Wires the executor, and stops it in order.

Ports are arguments, so that the service also runs in one process with others: how propellers are reached, how
commands are run, where blobs lie. Each defaults to the real thing.

Order of stopping (promise P9): health says not-serving → the leader is told that nothing new is taken → what runs may
end by itself within a grace → what is left is ended and handed back, so that it is begun anew elsewhere → the
last reports are acknowledged, or stay spooled → the sessions close → health ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from libs import blob as blobs
from libs.blob.store import BlobStore
from libs.rpc import server as servers
from libs.runtime import together
from libs.runtime.process import Life
from libs.runtime.together import within
from libs.wire import codec
from libs.wire.session import INTERRUPTIBLE, Hello
from libs.workflow.backend import Backend
from libs.workflow.quantities import Slots
from services.executor import api, environments, hardware, meters, results, runner, tasksecrets, variables
from services.executor.attempt import Workbench
from services.executor.attempts import Attempts
from services.executor.backlog import BACKLOG
from services.executor.datadir import DataDir
from services.executor.disk import Disk
from services.executor.journal import Journal
from services.executor.keeping import KeptProcesses
from services.executor.session import Desk, Sessions
from services.executor.settings import ExecutorSettings
from services.executor.slots import CountedPool, SlotPool
from services.executor.spool import Spool
from services.executor.warmprocess import WarmProcesses
from services.executor.zygotes import Zygotes

if TYPE_CHECKING:
    from services.executor.pods.backend import Pods
    from services.executor.pods.cluster import Cluster

logger = logging.getLogger(__name__)

_STOP_SERVER_SECONDS = 1.0

_MORE_THAN_A_POD = Slots(cpu_millis=256_000, memory_bytes=4 << 40, gpus=16)
"""What is offered for each pod that there may be: what one needs the cluster has or has not."""


async def serve(
    settings: ExecutorSettings,
    life: Life,
    *,
    propellers: api.Propellers | None = None,
    processes: runner.ProcessRunner | None = None,
    blob: BlobStore | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Runs until `life.stopping` is set and everything is stopped.

    Raises FailedPrecondition when another executor has the data directory, or there is no cluster for its pods.
    """
    directory = DataDir(settings.data_dir)
    with contextlib.closing(directory), contextlib.closing(Journal(directory.journal, secrets.token_hex(8))) as journal:
        await journal.reap(directory.scratch_root, directory.warm_root)
        await asyncio.to_thread(directory.sweep)
        spool = Spool(directory.spool, settings.spool_limit_bytes, codec.report_to_bytes, codec.report_from_bytes)
        slots = await _slots(settings)
        disk = Disk(settings.data_dir, settings.disk_floor_bytes, life.clock)
        cold = processes or runner.SupervisedProcesses(life.clock)
        as_pods = settings.task_backend is Backend.POD
        warm = settings.warm and processes is None and not as_pods
        zygotes = Zygotes(settings, directory.warm_root, cold, life.clock) if warm else None
        kept = None if zygotes is None else KeptProcesses(settings, directory.warm_root, zygotes, life.clock)
        bench = Workbench(
            settings=settings,
            clock=life.clock,
            tracing=life.tracing,
            storage=results.Storage(blob or blobs.open(settings.blob), settings.storage_patience_seconds),
            processes=cold if zygotes is None else WarmProcesses(cold, life.clock),
            zygotes=zygotes,
            kept=kept,
            environments=environments.Environments(settings.task_environments, settings.task_python),
            platform=_platform(settings, slots, os.environ),
            secrets=tasksecrets.SecretSource(settings.secrets_dir, os.environ),
            directory=directory,
            journal=journal,
        )
        if not as_pods:
            logger.info("offering %s, default %s", slots.capacity, bench.environments.default)
        introduction = _introduction(settings, directory, slots, journal)
        if as_pods:  # the cluster has the slots, and nobody waits here for them
            introduction = replace(introduction, backlog=0, places=settings.slots)
        pods = _pods(bench, introduction.executor, life, cluster) if as_pods else None
        async with asyncio.TaskGroup() as group:
            attempts = Attempts(
                bench, slots, spool, disk, group, *(() if pods is None else (pods.kind, lambda: pods.trouble))
            )
            desk = Desk(
                settings.propellers,
                propellers or api.PropellerClient(settings.session_token),
                attempts,
                journal,
                disk,
                introduction,
                settings.dial_seconds,
            )
            sessions = Sessions(desk)
            if life.metering.enabled:
                _ = life.spawn("meters", meters.board(life.metering, slots, attempts, spool, disk, sessions).watch())
            nothing = contextlib.nullcontext()
            async with zygotes or nothing, kept or nothing, nothing if pods is None else pods.running():
                await _live(settings, life, attempts, sessions, pods)
        await spool.close()


async def _live(
    settings: ExecutorSettings, life: Life, attempts: Attempts, sessions: Sessions, pods: Pods | None
) -> None:
    server = servers.build(settings.listen, services={}, metering=life.metering)
    await server.start()
    if pods is not None:
        # Before a leader hears of us: what we do not know by then is lost to it.
        with contextlib.suppress(together.Interrupted):
            await together.unless(life.stopping, "adopt pods", pods.adopt(attempts))
    dialling = life.spawn("sessions", sessions.run())
    server.ready()

    await life.stopping.wait()
    server.not_serving()
    attempts.drain()
    if pods is not None and await pods.is_kept():
        attempts.leave()
    elif not await within(settings.shutdown_grace_seconds, attempts.idle()):
        attempts.hand_back()
    await attempts.idle()
    if not await within(settings.flush_seconds, attempts.flushed()):
        logger.warning("some reports are not acknowledged: they are sent after the next start")
    dialling.cancel()
    await asyncio.gather(dialling, return_exceptions=True)
    await server.stop(_STOP_SERVER_SECONDS)


async def _slots(settings: ExecutorSettings) -> SlotPool:
    if settings.task_backend is Backend.POD:
        return CountedPool(settings.slots, _MORE_THAN_A_POD)
    return SlotPool(
        hardware.cpu_millis() if settings.cpu_millis is None else settings.cpu_millis,
        hardware.memory_bytes() if settings.memory_bytes is None else settings.memory_bytes,
        await hardware.gpus(os.environ) if settings.gpus is None else settings.gpus,
    )


def _pods(bench: Workbench, executor: str, life: Life, cluster: Cluster | None) -> Pods:
    # Not at the top: who runs processes needs no client of Kubernetes.
    from services.executor.pods.backend import Pods
    from services.executor.pods.cluster import KubernetesCluster
    from services.executor.pods.fleet import Fleet

    settings = bench.settings
    cluster = cluster or KubernetesCluster(settings.pod_kubeconfig, settings.pod_namespace, settings.log_limit_bytes)
    if settings.blob.startswith("/"):
        logger.warning("BLOB is a directory of this machine: pods find it only where they have it mounted")
    logger.info("tasks are pods of namespace %s, at most %d", cluster.namespace, settings.slots)
    return Pods(Fleet(settings, executor, bench.platform, cluster, life.clock, bench.storage), settings.own_pod)


def _platform(settings: ExecutorSettings, slots: SlotPool, environ: Mapping[str, str]) -> variables.Platform:
    passed = {name: environ[name] for name in settings.task_pass_envs if name in environ}
    return variables.Platform(
        admin_address=settings.admin_address,
        admin_insecure=settings.admin_insecure,
        console_url=settings.console_url,
        offload_mb=(settings.offload_from_mb, settings.offload_limit_mb) if settings.offload_from_mb else None,
        additions={**passed, **settings.task_envs},
        has_gpus=bool(slots.devices),
    )


def _introduction(settings: ExecutorSettings, directory: DataDir, slots: SlotPool, journal: Journal) -> Hello:
    return Hello(
        executor=settings.id or directory.executor_id(),
        incarnation=journal.incarnation,
        capacity=slots.capacity,
        labels={**settings.labels, **({INTERRUPTIBLE: "true"} if settings.interruptible else {})},
        version=importlib.metadata.version("airscrew"),
        backlog=BACKLOG,
        former=journal.former,
        begun=tuple(each.id for each in journal.lost) if journal.former else (),
    )
