"""Warm processes: one zygote for each recipe, started when its first task comes, ended when none has come for a while.

A zygote (`bootstrap/zygote.py`) is a command like any other to `SupervisedProcesses`: when the executor dies, it dies
with everything that was forked from it. There are at most `zygotes` of them; one too many ends the one that was used
longest ago, if it has nothing to do, and else the task that came starts cold.

A recipe that has failed is not tried again for a while: the reason is logged once, and its tasks start cold.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections import deque
from pathlib import Path
from typing import Any, Final

from libs.runtime.clock import Clock
from libs.workflow import errors
from services.executor import datadir
from services.executor.runner import Launch, ProcessRunner, Recipe, Running
from services.executor.settings import ExecutorSettings
from services.executor.wardens import Warden

logger = logging.getLogger(__name__)

_ZYGOTE: Final = Path(__file__).with_name("bootstrap") / "zygote.py"
_MESSAGE_BYTES: Final = 1 << 16
_LOG_BYTES: Final = 256 << 10

# How long a recipe that has failed has its tasks started cold before it is tried again.
_COLD_SECONDS: Final = 300.0


class Cold(Exception):
    """There is no warm process for this task now. The message says why."""


class Full(Cold):
    """There are as many as there may be, and all are in use."""


class Zygote:
    """One warm process, and the wardens that were forked from it and are free."""

    def __init__(self, recipe: Recipe, directory: Path, clock: Clock) -> None:
        self.recipe = recipe
        self._directory = directory
        self._clock = clock
        self._free: list[Warden] = []
        self._modules: dict[str, asyncio.Future[str]] = {}
        self._refusal = ""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forking: deque[Warden] = deque()
        self._wardens: dict[int, Warden] = {}
        self._spent = False
        self._forked = 0
        """How many wardens there have been."""
        self.busy = 0
        """How many wardens have a process."""
        self.used_at = clock.monotonic()
        self.ended = False
        self._running: Running | None = None
        self._control: socket.socket | None = None

    # ----------------------------------------------------------------------------------------------------------- life

    async def start(self, processes: ProcessRunner, settings: ExecutorSettings) -> None:
        """Starts the process and fetches its code. Raises Cold."""
        try:
            await asyncio.to_thread(datadir.make_scratch, self._directory, settings.task_uid, settings.task_gid)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._control = ours
                ours.setblocking(False)
                self._running = await processes.start(self._launch(settings, theirs.fileno()))
        except (errors.AirscrewError, OSError) as error:
            raise Cold(f"no process for it can be started: {error}") from error
        asyncio.get_running_loop().add_reader(ours, self._listen)
        if self.recipe.distribution:
            self._say({"unpack": self.recipe.distribution, "code": str(self._directory / "work")})
        await asyncio.shield(self._ready)

    def _launch(self, settings: ExecutorSettings, control: int) -> Launch:
        own = {"HOME": str(self._directory / "home"), "TMPDIR": str(self._directory / "tmp")}
        return Launch(
            command=(str(self.recipe.commands / "python"), str(_ZYGOTE), str(control)),
            environment=dict(self.recipe.environment) | own,
            directory=self._directory,
            working_directory=self._directory / "work",
            log=self._directory / "log",
            log_limit_bytes=_LOG_BYTES,
            kill_grace_seconds=0.0,
            uid=settings.task_uid,
            gid=settings.task_gid,
            descriptors=(control,),
        )

    async def live(self) -> None:
        """Returns when the process has ended with everything that was forked from it."""
        if self._running is not None:
            try:
                await self._running.wait()
            finally:
                self.close("it has ended")
        await asyncio.to_thread(datadir.remove, self._directory)

    def retire(self, reason: str) -> None:
        """Takes no more tasks, and ends with the last that it has."""
        self._spent = True
        self._refusal = self._refusal or reason
        if not self.busy:
            self.close(reason)

    def close(self, reason: str) -> None:
        """Ends it now, and what was forked of it."""
        if self.ended:
            return
        self.ended = True
        self._refusal = self._refusal or reason
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
        if self._running is not None:
            self._running.stop()
        for warden in self._free:
            warden.close()
        self._free.clear()
        waits: list[asyncio.Future[Any]] = [self._ready, *self._modules.values()]
        for waiting in waits:
            if not waiting.done():
                waiting.set_exception(Cold(self._refusal))
                waiting.exception()  # whoever waits for it is told; nobody need
        for warden in (*self._forking, *self._wardens.values()):
            warden.gone.set()

    @property
    def idle_since(self) -> float | None:
        """When it was last used; None while it is, or imports something for a task that waits."""
        importing = any(not waiting.done() for waiting in self._modules.values())
        return None if self.busy or importing else self.used_at

    def tail(self) -> str:
        """The end of what it has printed: warnings of users' modules, tracebacks."""
        try:
            return (self._directory / "log").read_text(errors="replace")[-2000:].strip()
        except OSError:
            return ""

    # ---------------------------------------------------------------------------------------------------- conversation

    def _say(self, message: dict[str, Any], *descriptors: int) -> None:
        assert self._control is not None
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], list(descriptors))
        except OSError as error:
            self.close(f"it does not listen: {error}")

    def _listen(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close("it has ended")
            return
        said = json.loads(data)
        if "ready" in said and not self._ready.done():
            self._ready.set_result(None)
            if not said["ready"]:
                logger.warning("%s has a flytekit that is not known: its tasks take its own command line", self.recipe)
        elif "imported" in said:
            if said["problem"]:
                logger.info("%s is not imported in advance: %s", said["imported"], said["problem"])
            self._modules[said["imported"]].set_result(said["problem"])
        elif "refused" in said:
            self._refuse(said["refused"])
        elif "warden" in said:
            self._wardens[said["warden"]] = self._forking.popleft()
        elif "unforked" in said:
            self._forking.popleft().unforked(said["unforked"])
        elif "gone" in said:
            self._wardens.pop(said["gone"]).gone.set()

    def _refuse(self, reason: str) -> None:
        """It has something in it that must not be forked. What was forked before is not hurt."""
        waits: list[asyncio.Future[Any]] = [self._ready, *self._modules.values()]
        for waiting in waits:
            if not waiting.done():
                waiting.set_exception(Cold(reason))
                waiting.exception()  # whoever waits for it is told; nobody need
        self.retire(reason)

    def has(self, module: str) -> bool:
        """Whether tasks of `module` can be forked at once."""
        return not (self._spent or self.ended) and (
            not module or (module in self._modules and self._modules[module].done())
        )

    async def bring(self, module: str) -> None:
        """Has `module` imported, if it is not yet. Raises Cold."""
        if self._spent or self.ended:
            raise Cold(self._refusal)
        if module and module not in self._modules:
            self._modules[module] = asyncio.get_running_loop().create_future()
            self._say({"import": module})
            for warden in self._free:
                warden.close()  # they were forked before
            self._free.clear()
        if module:
            await asyncio.shield(self._modules[module])
        self.used_at = self._clock.monotonic()

    # --------------------------------------------------------------------------------------------------------- wardens

    def take(self) -> Warden:
        """A warden that is free. Raises Cold."""
        if self._spent or self.ended:
            raise Cold(self._refusal)
        self.busy += 1
        if self._free:
            return self._free.pop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._forked += 1
            warden = Warden(ours, self, len(self._modules), f"{self._directory}/desk-{self._forked}")
            self._forking.append(warden)
            self._say({"warden": True}, theirs.fileno())
        return warden

    def give_back(self, warden: Warden) -> None:
        """The warden has no process any more."""
        self.busy -= 1
        self.used_at = self._clock.monotonic()
        if self._spent or self.ended or warden.broken or warden.modules != len(self._modules):
            warden.close()
        else:
            self._free.append(warden)
        if self._spent and not self.busy:
            self.close(self._refusal)


class Zygotes:
    """All of them, and the owner of the tasks that they live in: a context, whose end is theirs."""

    def __init__(self, settings: ExecutorSettings, root: Path, processes: ProcessRunner, clock: Clock) -> None:
        self._settings = settings
        self._root = root
        self._processes = processes
        self._clock = clock
        self._by_recipe: dict[Recipe, Zygote] = {}
        self._starting: dict[Recipe, asyncio.Task[Zygote]] = {}
        self._failed: dict[Recipe | tuple[Recipe, str], float] = {}
        self._count = 0
        self._lives: set[asyncio.Task[None]] = set()
        self._retiring: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Zygotes:
        self._retiring = asyncio.create_task(self._retire_idle(), name="retire warm processes")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._starting.values(), *([self._retiring] if self._retiring is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for zygote in list(self._by_recipe.values()):
            zygote.close("the executor ends")
        await asyncio.gather(*self._lives, return_exceptions=True)

    async def ready(self, recipe: Recipe, module: str) -> None:
        """Returns when tasks of `module` can be forked, at once if they can already. Raises Cold when they cannot."""
        zygote = self._by_recipe.get(recipe)
        if zygote is not None and zygote.has(module):
            return
        now = self._clock.monotonic()
        for key in (recipe, (recipe, module)):
            if self._failed.get(key, now) > now:
                raise Cold("it has failed before")
        try:
            async with asyncio.timeout(self._settings.zygote_start_seconds):
                zygote = await self._started(recipe)
                await zygote.bring(module)
        except Full:
            raise
        except (Cold, TimeoutError) as problem:
            reason = str(problem) or f"it is not ready after {self._settings.zygote_start_seconds:g} s"
            self._fail(recipe, module, reason)
            raise Cold(reason) from None

    def _fail(self, recipe: Recipe, module: str, reason: str) -> None:
        zygote = self._by_recipe.pop(recipe, None)
        tail = zygote.tail() if zygote is not None else ""
        if zygote is not None:
            zygote.retire(reason)
        key = (recipe, module) if zygote is not None and module else recipe
        until = self._clock.monotonic() + _COLD_SECONDS
        if self._failed.get(key, 0.0) < until - 1:
            place = recipe.distribution or recipe.version
            logger.warning("tasks of %s in %s start cold: %s", module or "unknown modules", place, reason)
            if tail:
                logger.info("what importing %s has printed: %s", module, tail)
        self._failed[key] = until

    async def _started(self, recipe: Recipe) -> Zygote:
        zygote = self._by_recipe.get(recipe)
        if zygote is not None and not zygote.ended:
            return zygote
        starting = self._starting.get(recipe)
        if starting is None:
            starting = asyncio.create_task(self._start(recipe), name="start zygote")
            self._starting[recipe] = starting
            starting.add_done_callback(lambda task: self._has_started(recipe, task))
        return await asyncio.shield(starting)

    def _has_started(self, recipe: Recipe, task: asyncio.Task[Zygote]) -> None:
        del self._starting[recipe]
        if not task.cancelled():
            task.exception()  # those who wait for it have it

    async def _start(self, recipe: Recipe) -> Zygote:
        self._make_room()
        self._count += 1
        zygote = Zygote(recipe, self._root / f"zygote-{self._count}", self._clock)
        try:
            async with asyncio.timeout(self._settings.zygote_start_seconds):
                await zygote.start(self._processes, self._settings)
        except BaseException:
            zygote.close("it could not be started")
            raise
        finally:
            life = asyncio.create_task(zygote.live(), name="zygote")
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)
        zygote.used_at = self._clock.monotonic()
        self._by_recipe[recipe] = zygote
        return zygote

    def _make_room(self) -> None:
        for recipe in [recipe for recipe, zygote in self._by_recipe.items() if zygote.ended]:
            del self._by_recipe[recipe]
        while len(self._by_recipe) + len(self._starting) > self._settings.zygotes:
            idle = [zygote for zygote in self._by_recipe.values() if not zygote.busy]
            if not idle:
                raise Full(f"{self._settings.zygotes} warm processes are in use (AIRSCREW_EXECUTOR_ZYGOTES)")
            self._retire(min(idle, key=lambda zygote: zygote.used_at))

    def _retire(self, zygote: Zygote) -> None:
        self._by_recipe.pop(zygote.recipe, None)
        zygote.retire("it was not needed")

    def take(self, recipe: Recipe) -> Warden:
        """A warden whose process will be forked of the zygote for `recipe`. Raises Cold."""
        zygote = self._by_recipe.get(recipe)
        if zygote is None:
            raise Cold("it has ended meanwhile")
        return zygote.take()

    async def _retire_idle(self) -> None:
        idle = self._settings.zygote_idle_seconds
        while True:
            await asyncio.sleep(idle / 4)
            before = self._clock.monotonic() - idle
            for zygote in list(self._by_recipe.values()):
                if (since := zygote.idle_since) is not None and since < before:
                    self._retire(zygote)
