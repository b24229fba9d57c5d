"""The life of a service's process, from its first log line to its exit code.

    def main() -> int:
        return process.serve("queue", QueueSettings, app.serve)

One `asyncio.TaskGroup` owns every task of the process, by name. The process ends

- **when it is told to**: the first SIGTERM or SIGINT sets `life.stopping`; the service then stops in its own written
  order and returns, and tasks still running after that are cancelled. Exit code 0. A second signal exits at once.
- **when something in it fails**: an exception out of the service or out of any spawned task cancels all others, and the
  process ends with exit code 1 and a log line that names the task. Restarting is the supervisor's business.
- **when it cannot start**: mistakes in its settings go to stderr in one message, exit code 2.

Not guaranteed: that code which swallows cancellation lets go. A process that failed and has not ended after
`FAILURE_GRACE_SECONDS` is ended the hard way, because a half-dead one could keep a lease, a port or a lock.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from libs import settings
from libs.runtime import grpcio, native
from libs.runtime.clock import Clock, SystemClock
from libs.telemetry import logs, metrics, otel, traces

logger = logging.getLogger(__name__)

grpcio.choose()  # a service's modules, which import gRPC, are imported after this one

OK: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2

FAILURE_GRACE_SECONDS: Final = 20.0

_HELP_COLUMNS: Final = 96

COLLECT_AFTER: Final = (300_000, 10, 10)
"""How many new objects the garbage collector waits for before it looks at them, and how many such looks before it looks
at older ones: with Python's own 700 it takes a tenth of a busy process's time, to find next to nothing. So many take a
few megabytes; with 10,000, a leader of thousands of executions looked at what is in use for an eighth of its time,
with 100,000 for a thirtieth, 20 ms and more at a time.
"""

GIVE_WAY_SECONDS: Final = 0.0005
"""How long a thread that wants Python's lock waits before whoever has it must give way. The store's writer lets go of
the lock for every statement, and beside an event loop that is busy waits for it again: with Python's own 5 ms a large
commit waited several times as long as it ran.
"""


@dataclass(frozen=True)
class LogSettings:
    """What every process reads about its own logs."""

    log_level: str = "info"
    """debug, info, warning or error."""

    log_format: str = "json"
    """json for machines, text for people."""

    def __post_init__(self) -> None:
        if self.log_level not in logs.LEVELS:
            raise ValueError(f"LOG_LEVEL: {self.log_level!r} is none of {', '.join(logs.LEVELS)}")
        if self.log_format not in logs.FORMATS:
            raise ValueError(f"LOG_FORMAT: {self.log_format!r} is none of {', '.join(logs.FORMATS)}")


@dataclass(frozen=True)
class MetricsSettings:
    """What every process reads about its own metrics."""

    metrics_listen: str = ""
    """`host:port` where Prometheus may scrape this process; empty: nowhere. One for each process of a machine."""


class Life:
    """What the process gives to its service: the wish to stop, an owner for tasks, the clock, traces and metrics."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        clock: Clock,
        tracing: traces.Tracing,
        metering: metrics.Metering | None = None,
    ) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stopping = asyncio.Event()
        """Set once, when the process is asked to stop."""
        self.clock = clock
        self.tracing = tracing
        self.metering = metering or metrics.Metering()

    def spawn(self, name: str, work: Coroutine[Any, Any, Any], *, eternal: bool = True) -> asyncio.Task[None]:
        """Runs `work` until the service has stopped. Its failure ends the process.

        An `eternal` task is not expected to return while the process runs; when it does, a warning says so.
        """
        task = self._group.create_task(self._guard(name, work, eternal), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(
            lambda _: work.close()
        )  # a task that is cancelled before its first step has not begun it
        return task

    async def _guard(self, name: str, work: Coroutine[Any, Any, Any], eternal: bool) -> None:
        try:
            await work
        except Exception:
            logger.exception("task %s failed: the process ends", name)
            asyncio.get_running_loop().call_later(FAILURE_GRACE_SECONDS, os._exit, FAILED)
            raise
        if eternal and not self.stopping.is_set():
            logger.warning("task %s ended although it should run as long as the process", name)

    def cancel_tasks(self) -> None:
        """Ends what is still running: the service has stopped and needs it no longer."""
        for task in tuple(self._tasks):
            task.cancel()


Settings = TypeVar("Settings")


def serve(
    service: str,
    settings_class: type[Settings],
    main: Callable[[Settings, Life], Awaitable[None]],
    *,
    fast_loop: bool = True,
) -> int:
    """As `run`, with the settings of the service from its environment; with `--help` it only tells what these are."""
    arguments = sys.argv[1:]
    if not arguments:
        return run(service, lambda life: main(settings.load(settings_class, service), life), fast_loop=fast_loop)
    if {"-h", "--help"} & set(arguments):
        print(_help(service, settings_class))
        return OK
    print(f"airscrew {service} takes no arguments, only variables: see --help", file=sys.stderr)
    return MISCONFIGURED


def _help(service: str, settings_class: type[Any]) -> str:
    lines = [
        f"usage: python -m services.{service}",
        "",
        "Runs until SIGTERM. It is told by variables, or by files that hold their values (VARIABLE_FILE):",
    ]
    for cls in (settings_class, LogSettings, MetricsSettings):
        for each in settings.described(cls, service):
            default = "must be set" if each.default is None else f"default: {each.default}" if each.default else ""
            meaning = textwrap.indent(textwrap.fill(each.meaning, _HELP_COLUMNS), "    ")
            lines += ["", f"{each.variable}  {default}".rstrip(), meaning]
    lines += ["", "A variable without the service's name is for all of them. TLS and OpenTelemetry: docs/settings.md."]
    return "\n".join(lines)


def run(service: str, main: Callable[[Life], Awaitable[None]], *, fast_loop: bool = True) -> int:
    """Runs `main` as the process of `service` and returns the exit code, for `sys.exit`. With `fast_loop` on uvloop's
    event loop, where that is installed.

    Logs are configured from `AIRSCREW_LOG_LEVEL` and `AIRSCREW_LOG_FORMAT`; traces, metrics and who else gets the logs
    from `OTEL_*`; `AIRSCREW_METRICS_LISTEN` is where Prometheus finds the metrics. `main` may raise SettingsError.
    """
    gc.freeze()  # what is imported stays: a look at all of it takes a tenth of a second, in which everybody waits
    gc.set_threshold(*COLLECT_AFTER)
    sys.setswitchinterval(GIVE_WAY_SECONDS)
    try:
        log_settings = settings.load(LogSettings, service)
        sender = otel.logs_handler(service)
        logs.configure(service, log_settings.log_level, log_settings.log_format, [sender[0]] if sender else [])
        if native.compiled():
            logger.info("%s runs compiled: see `make native`", service)
        tracing, metering = otel.configure(service), _metering(service)
        try:
            with asyncio.Runner(loop_factory=_loop_factory() if fast_loop else None) as runner:
                return runner.run(_live(service, main, tracing, metering))
        finally:
            with ThreadPoolExecutor(3, thread_name_prefix="telemetry") as last:  # a collector that is away costs once
                list(
                    last.map(lambda end: end(), (tracing.shutdown, metering.shutdown, *([sender[1]] if sender else [])))
                )
    except settings.SettingsError as error:
        print(f"airscrew {service} cannot start:\n{error}", file=sys.stderr)
        return MISCONFIGURED


def _metering(service: str) -> metrics.Metering:
    listen = settings.load(MetricsSettings, service).metrics_listen
    try:
        return otel.metering(service, scraped_at=listen)
    except OSError as error:
        raise settings.SettingsError([f"METRICS_LISTEN: cannot listen on {listen!r}: {error}"]) from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one: every hop of a message wakes the loop several times, and a wake costs half."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _live(
    service: str, main: Callable[[Life], Awaitable[None]], tracing: traces.Tracing, metering: metrics.Metering
) -> int:
    code = OK
    mistakes: settings.SettingsError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            life = Life(group, SystemClock(), tracing, metering)
            _obey_signals(life)
            await _serve(service, main, life)
    except* settings.SettingsError as errors:
        mistakes = _first(errors)
    except* Exception:
        code = FAILED  # whoever failed has logged it
    if mistakes is not None:
        raise mistakes
    logger.info("%s ended with exit code %d", service, code)
    return code


async def _serve(service: str, main: Callable[[Life], Awaitable[None]], life: Life) -> None:
    try:
        await main(life)
    except settings.SettingsError:
        raise
    except Exception:
        logger.exception("%s failed: the process ends", service)
        asyncio.get_running_loop().call_later(FAILURE_GRACE_SECONDS, os._exit, FAILED)
        raise
    life.cancel_tasks()


def _obey_signals(life: Life) -> None:
    """The first signal asks to stop, the second does not ask."""

    def obey(number: signal.Signals) -> None:
        if life.stopping.is_set():
            logger.warning("%s again: exiting at once", number.name)
            os._exit(128 + number)
        logger.info("%s: stopping", number.name)
        life.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, obey, number)


def _first(group: BaseExceptionGroup[settings.SettingsError]) -> settings.SettingsError:
    found = group.exceptions[0]
    return found if isinstance(found, settings.SettingsError) else _first(found)
