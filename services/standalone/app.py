"""Starts the processes, tells the user, and stops them in order.

Start, everything that can at the same time: etcd and the queue at once, the database is prepared meanwhile, then admin,
and the propellers and executors when etcd answers too. Stop, after the first signal: executors, admin,
propellers, queue, etcd; after the second: all at once, which loses nothing either.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping

from libs.runtime import readiness, together
from libs.workflow.errors import AirscrewError
from services.standalone import announce, etcd, plan, ports, stores
from services.standalone.datadir import DataDir, opened, write_at_once
from services.standalone.plan import Plan
from services.standalone.settings import CannotStart, Options
from services.standalone.stores import Stores
from services.standalone.supervisor import Program, Supervisor

Say = Callable[[str], None]

ETCD = "etcd"


def run(options: Options, environ: Mapping[str, str], say: Say, warn: Say) -> None:
    """Serves until a signal. `say` gets what the user asked for, `warn` what went wrong on the way.

    Raises `CannotStart`, with everything stopped that was started.
    """
    options.check()
    with opened(options.data_dir) as data:
        if options.reset:
            data.reset()
        taken: set[int] = set()
        server = None if options.etcd else _own_etcd(data, taken)
        endpoints = options.etcd if server is None else (server.endpoint,)
        chosen = stores.chosen(options, data, endpoints)
        system = System(
            options,
            data,
            chosen,
            plan=plan.make(options, data, chosen, environ, taken),
            etcd=None if server is None else _etcd_program(server, data, environ),
            environ=environ,
            warn=warn,
        )
        asyncio.run(system.run(lambda seconds: say(announce.ready(options, data, system.plan, seconds))))


class System:
    """One start of the system, from the first process to the last."""

    def __init__(
        self,
        options: Options,
        data: DataDir,
        stores: Stores,
        plan: Plan,
        etcd: Program | None,
        environ: Mapping[str, str],
        warn: Say,
    ) -> None:
        self.plan = plan
        self._options = options
        self._data = data
        self._stores = stores
        self._etcd = etcd
        self._environ = environ
        self._warn = warn
        self._ready = False
        self._stopping = asyncio.Event()
        self._supervisor = Supervisor(say=warn, changed=self._write_run_file)

    async def run(self, announce_ready: Callable[[float], None]) -> None:
        """Starts, serves until a signal, stops. Raises `CannotStart`."""
        began = time.monotonic()
        self._obey_signals()
        self._data.run_file.unlink(missing_ok=True)
        write_at_once(self._data.config, announce.client_config(self.plan.endpoint))
        try:
            async with self._supervisor:
                try:
                    if await self._started():
                        self._ready = True
                        self._write_run_file()
                        announce_ready(time.monotonic() - began)
                        readiness.tell()
                        await self._stopping.wait()
                finally:
                    await self._stop()
        finally:
            self._data.run_file.unlink(missing_ok=True)

    async def _started(self) -> bool:
        """Starts everything; False when a signal came before all was up."""
        try:
            await together.unless(self._stopping, "start", self._start())
        except together.Interrupted:
            return False
        return True

    async def _start(self) -> None:
        refusal: CannotStart | None = None
        try:
            async with (
                stores.prepared(
                    self._stores, self._environ, retire_lost_etcd=self._options.owns_both_stores
                ) as preparation,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._supervisor.start(self.plan.queue), name="start queue")
                elector = group.create_task(self._start_etcd(), name="start etcd")
                await preparation.migrated()
                group.create_task(self._supervisor.start(self.plan.admin), name="start admin")
                await elector
                await preparation.finished()
                # The executors last: they begin in less time than the propellers, and look for them again and again.
                for program in (*self.plan.propellers, *self.plan.executors):
                    group.create_task(self._supervisor.start(program), name=f"start {program.name}")
        except* CannotStart as errors:
            refusal = _first(errors)  # what is raised here itself comes out within a group, before Python 3.11.4
        if refusal is not None:
            raise refusal

    async def _start_etcd(self) -> None:
        if self._etcd is not None:
            await self._supervisor.start(self._etcd)

    async def _stop(self) -> None:
        self._stopping.set()
        for names in (*self.plan.stop_order, (ETCD,)):
            await self._supervisor.stop(names)

    def _obey_signals(self) -> None:
        def obey(number: signal.Signals) -> None:
            if self._stopping.is_set():
                self._warn("stopping at once")
                self._supervisor.kill()
                return
            if number is signal.SIGINT:  # somebody sits there
                self._warn("stopping; Ctrl-C again stops at once")
            self._stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, obey, number)

    def _write_run_file(self) -> None:
        """Who runs now; read by `airscrew demo` and by tests."""
        self._data.write_run_file(
            {
                "pid": os.getpid(),
                "ready": self._ready,
                "endpoint": self.plan.endpoint,
                "http_url": self.plan.http_url,
                "config": str(self._data.config),
                "task_python": str(self._options.task_python),
                "processes": {
                    name: {
                        "pid": child.process.pid,
                        "address": child.program.address,
                        "state": child.state.value,
                        "restarts": child.restarts,
                    }
                    for name, child in self._supervisor.children.items()
                },
            }
        )


def _own_etcd(data: DataDir, taken: set[int]) -> etcd.EtcdServer:
    try:
        return etcd.EtcdServer(etcd.find_etcd(), data.etcd, ports.free(taken))
    except AirscrewError as error:
        raise CannotStart(error.message) from error


def _etcd_program(server: etcd.EtcdServer, data: DataDir, environ: Mapping[str, str]) -> Program:
    async def answers() -> bool:
        try:
            await asyncio.to_thread(server.wait_ready, timeout_seconds=0.0)
        except AirscrewError:
            return False
        return True

    return Program(
        name=ETCD,
        argv=tuple(server.command()),
        environ={name: value for name, value in environ.items() if not name.startswith("ETCD_")},
        log=data.rotate_log(ETCD),
        probe=answers,
        address=server.endpoint,
    )


def _first(group: BaseExceptionGroup[CannotStart]) -> CannotStart:
    """The first of possibly many: the others are mostly its consequences."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
