"""The process that a task runs in when it was forked from a zygote: surroundings, the task, what it leaves behind.

Forked for one task, it looks to the task like a process of its own: environment, working directory with its code,
command line, signals, streams, random numbers, temporary directories, exit code, exit handlers.

Kept for many tasks, it puts all of that back between two of them, as far as a process can: not what modules remember.
What a task may not leave are threads, running processes, open files beyond a handful, and much memory: then the process
says so and ends after the task, as a process of its own would, and the next task gets another.
"""

# ruff: noqa: SIM105 - as in supervisor.py

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` is made of: that looks up a name for each number
import atexit
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from services.executor.bootstrap.exchange import Result
    from services.executor.bootstrap.frames import Channel
    from services.executor.bootstrap.leanway import LeanWay
    from services.executor.bootstrap.surroundings import Surroundings

COPIED_ENTRIES = 500  # of the code's files: more than that would cost each task more than it is worth
KEPT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR2, signal.SIGCHLD)
EXTRA_DESCRIPTORS = 16  # what libraries keep open for later
EXTRA_MODULES = 2000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Worker:
    """One forked process. `code` is where the version's code was unpacked, empty if nowhere."""

    def __init__(self, channel: Channel, way: LeanWay, desks: Any, code: str, surroundings: Surroundings) -> None:
        self.channel = channel
        self.way = way
        self.desks = desks
        self.code = code
        self.path = list(sys.path)
        self.surroundings = surroundings

    def run_one(self) -> NoReturn:
        """Runs the one task that comes over the channel and exits as it did."""
        message = self.channel.receive()
        if message is None:
            os._exit(126)
        request, inputs = message
        self.surroundings.add(request["environment"])
        self.enter(request)
        result = self.perform(request, inputs)
        self.answer(result)
        leave(result.code)

    def run_many(self, printed: list[int]) -> NoReturn:
        """Runs tasks until the channel is closed, or until one leaves something behind.

        What each prints goes into one of the pipes `printed`, as the request says: not into that of the task before, of
        which the executor may not have heard that it has ended. A request that follows one which the executor has taken
        back is taken back with it.
        """
        start: Belongings | None = None
        last = 0
        while (message := self.channel.receive()) is not None:
            request, inputs = message
            if request["after"] != last:
                continue
            last = request["number"]
            print_to(printed[request["log"]])
            self.surroundings.change(request["environment"])
            self.enter(request)
            if start is None:
                desk = os.path.join(request["temporary"], "flyte")
                start = Belongings(self.desks, (request["temporary"], request["work"], request["home"]), desk)
                self.way.settle(desk)
            reseed()
            result = self.perform(request, inputs)
            leak = start.leak(request["memory"])
            if result.code != 0:
                leak = leak or f"it ended with code {result.code}"
            self.answer(result, leak)
            if leak:
                leave(result.code)
            try:
                start.put_back()
            except OSError:
                break  # something resists: the next task gets another process, which has other directories
        leave(0)

    def enter(self, request: dict[str, Any]) -> None:
        """Makes this process look as if it had been started for the request, which tells what is not as in the last."""
        work = request["work"]
        if request["furnish"] and self.code:
            furnish(self.code, work)
        os.chdir(work)
        sys.path[:] = [work if place == self.code else place for place in self.path]
        if not self.code:
            sys.path.append(work)
        sys.argv[:] = request["words"]
        tempfile.tempdir = None

    def perform(self, request: dict[str, Any], inputs: bytes) -> Result:
        given = inputs if request["inline"] else None
        environment = self.surroundings.wanted
        return self.way.run(request["words"], given, request["limit"], request["configured"], environment)

    def answer(self, result: Result, leak: str = "") -> None:
        """Tells the executor. Where the task has closed the channel, its files must do."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # closed, or nobody reads it
        if not self.channel.whole:
            self.way.write_files()
            leave(result.code)
        header = {"code": result.code, "inline": result.outputs is not None, "deck": result.deck, "leak": leak}
        try:
            self.channel.send(header, result.outputs or b"")
        except OSError:
            self.way.write_files()
            leave(result.code)


def furnish(code: str, work: str) -> None:
    """Puts the code into a task's own working directory, where the task may do with it as it likes.

    Of very many files only those at the top are copied; directories are links then, shared with other tasks.
    """
    count = 0
    for _, directories, files in os.walk(code):
        count += len(directories) + len(files)
        if count > COPIED_ENTRIES:
            break
    for entry in os.scandir(code):
        target = os.path.join(work, entry.name)
        if entry.is_dir(follow_symlinks=False):
            if count > COPIED_ENTRIES:
                os.symlink(entry.path, target)
            else:
                shutil.copytree(entry.path, target, symlinks=True)
        else:
            shutil.copy2(entry.path, target, follow_symlinks=False)


def print_to(pipe: int) -> None:
    """Makes it what the standard streams write to."""
    try:
        os.dup2(pipe, 1)
        os.dup2(pipe, 2)
    except OSError:  # a task has closed it: what is printed is lost, and in nobody else's log
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)


def reseed() -> None:
    """Forks of one process would draw the same numbers; Python's own generator sees to that itself at a fork."""
    random.seed(int.from_bytes(os.urandom(16), "little"))
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy.random" in sys.modules:
        numpy.random.seed()


class Belongings:
    """What the process had before it saw the first task: put back after each, and compared with what is there."""

    def __init__(self, desks: Any, places: Iterable[str], desk: str) -> None:
        _wake_loop()
        self.desks = desks
        on_desk = desks.make(desk)
        layout = {place: os.listdir(place) for place in places} | on_desk
        self.directories = [desks.Directory(place, kept) for place, kept in layout.items()]
        self.streams = (sys.stdin, sys.stdout, sys.stderr)
        self.nothing = os.dup(0)  # what the first of them reads
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.signals = [(number, _signal.getsignal(number)) for number in KEPT_SIGNALS]
        self.threads = set(threading.enumerate())
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.next_descriptor = _next_descriptor()
        self.modules = len(sys.modules)
        self.resident = _resident_bytes()

    def leak(self, memory: int) -> str:
        """What a task has left, in words; empty when it may be followed by another. `memory` is how much it may add."""
        if len(self.threads) != threading.active_count():
            left = [thread.name for thread in threading.enumerate() if thread not in self.threads]
            if left:
                return f"it left a thread, {left[0]}"
        if _has_children():
            return "it left a process"
        # A new one gets the lowest number that is free: while that is as at the last look, nothing was left since.
        if (number := _next_descriptor()) != self.next_descriptor:
            self.next_descriptor = number
            if (count := len(os.listdir("/proc/self/fd")) - self.descriptors) > EXTRA_DESCRIPTORS:
                return f"it left {count} open files"
        if (count := len(sys.modules) - self.modules) > EXTRA_MODULES:
            return f"it has imported {count} modules"
        # What it has had at most tells as much, as long as that is little, and is known without reading a file.
        if _most_resident_bytes() - self.resident > memory and (size := _resident_bytes() - self.resident) > memory:
            return f"its memory has grown by {size >> 20} MiB"
        return ""

    def put_back(self) -> None:
        """As far as a process can. Raises OSError when what a task has left resists."""
        os.dup2(self.nothing, 0)
        sys.stdin, sys.stdout, sys.stderr = self.streams
        os.umask(self.umask)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self.signals:
            if _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
        self.desks.put_back(self.directories)


def _wake_loop() -> None:
    """Starts the thread of flytekit's that outlives tasks, so that it is no task's."""
    from flytekit.utils.asyn import run_sync

    async def nothing() -> None:
        pass

    run_sync(nothing)


def _has_children() -> bool:
    """Whether a child runs, or an orphan, whose sub-reaper this process is. Collects those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _next_descriptor() -> int:
    """The number that the next open file gets."""
    try:
        number = os.dup(2)
    except OSError:
        return -1  # the task has closed it
    os.close(number)
    return number


def _most_resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def leave(code: int) -> NoReturn:
    """Ends as an interpreter does: waits for threads, runs exit handlers, flushes."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else code
    except BaseException:
        pass
    os._exit(code)
