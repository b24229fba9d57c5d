"""Runs one task process and answers for every process that it leaves behind.

    python -I -S supervisor.py CONTROL_FD LOG_PATH LOG_LIMIT MEMORY_LIMIT GRACE UID GID -- COMMAND [ARGUMENT…]

A stand-alone script: standard library only, started in isolated mode, so that nothing of the engine is importable and
starting costs some ten milliseconds. One supervisor per attempt; it leads a session of its own.

Guaranteed, as long as the supervisor itself lives:

* When the other end of CONTROL_FD (a stream socket) closes, for instance because the executor was killed with SIGKILL,
  everything below the supervisor is killed with SIGKILL at once. The socket is the life-line.
* When `T` is read from CONTROL_FD, every process gets SIGTERM, and after GRACE seconds SIGKILL.
* When the command ends, what it left running is killed, as in a container whose first process ends.
* It exits only when no descendant is left, including those that left the process group or the session: as a
  sub-reaper it inherits orphans, and it counts itself done when it has no child any more.
* Whatever the command and its descendants print is appended to LOG_PATH, LOG_LIMIT bytes at most, then a notice and
  the last lines. A full disk or a bad path loses log lines, never the task.
* MEMORY_LIMIT (bytes, 0 is none) is watched, not enforced by the kernel: a burst between two looks is not seen.

Not guaranteed: when the supervisor itself is killed with SIGKILL, the command dies with it (parent-death signal) but
its own children are for the executor to find. A process in uninterruptible sleep delays the end until it wakes.

It writes a line to CONTROL_FD, last of all: `ended exit|signal NUMBER MEMORY`, where MEMORY is 1 when a lack of memory
is why it ended. Exit codes of a command that could not be started are 126 and 127, as in a shell. Where the system has
refused to fork, the line is `refused TEXT`, and nothing was started.
"""

# ruff: noqa: SIM105 - importing `contextlib` would take longer than everything else that is imported here

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself looks up a name for each number
import ctypes
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself would double the time this takes to start
    from collections.abc import Callable, Container, Iterable
    from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

LOG_TAIL_BYTES = 16 << 10  # what is kept of the end of a log that was cut: room for a traceback
KILL_AGAIN_SECONDS = 0.01  # between two rounds of SIGKILL: a fork between the rounds is caught by the next
MEMORY_LOOK_SECONDS = 0.5  # between two looks at the memory
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    if LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def children() -> dict[int, list[int]]:
    """Who has which children, by one pass over /proc. A snapshot: callers repeat until nothing is left."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name in brackets may hold anything, brackets too: what counts starts after the last.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # ended meanwhile
            found.setdefault(parent, []).append(int(name))
    return found


def descendants(root: int, spared: Container[int] = ()) -> list[int]:
    """Process ids below `root`, without its children that are `spared` and what is below those."""
    below = children()
    waiting = [pid for pid in below.get(root, []) if pid not in spared]
    found: list[int] = []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += below.get(pid, [])
    return found


def resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def proportional_bytes(pid: int) -> int:
    """As `resident_bytes`, but a page shared by n processes counts one nth: dearer, and right for forked workers."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return resident_bytes(pid)


def exceeds(limit: int) -> bool:
    pids = descendants(os.getpid())
    if sum(map(resident_bytes, pids)) <= limit:
        return False
    return sum(map(proportional_bytes, pids)) > limit


def kernel_oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, on this machine, since it started."""
    try:
        file = os.open("/proc/vmstat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            told = b""
            while piece := os.read(file, 1 << 16):
                told += piece
        finally:
            os.close(file)
        return int(told.partition(b"\noom_kill ")[2].split(maxsplit=1)[0])
    except (OSError, IndexError, ValueError):
        return 0


def open_log(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        # Task code writes to the same store: a link that it leaves here must not choose what we append to.
        return os.open(path, flags | os.O_NOFOLLOW, 0o644)
    except OSError:
        return os.open(os.devnull, flags)


class Log:
    """The log file with its cap: the head is kept, then the tail. Owns the descriptor `file`."""

    def __init__(self, file: int, limit: int) -> None:
        self.file = file
        self.room = limit
        self.limit = limit
        self.dropped = 0
        self.tail = b""

    def write(self, data: bytes) -> None:
        head, rest = data[: self.room], data[self.room :]
        self.room -= len(head)
        if head:
            self.append(head)
        if rest:
            self.dropped += len(rest)
            self.tail = (self.tail + rest)[-LOG_TAIL_BYTES:]

    def append(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.file, data) :]
        except OSError:
            self.dropped += len(data)  # a full disk must not hurt the task

    def close(self) -> None:
        if self.dropped:
            missing = self.dropped - len(self.tail)
            self.append(
                f"\n[the log was cut at {self.limit} bytes: {missing} bytes are missing here]\n".encode() + self.tail
            )
        os.close(self.file)


class Output:
    """The pipe that a command prints into, on its way to the log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.end, self.printed_to = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.end, False)

    def pump(self) -> bool:
        """Moves one piece into the log. False when there is none for now or none will come."""
        try:
            data = os.read(self.end, 1 << 16)
        except BlockingIOError:
            return False
        self.log.write(data)
        return bool(data)

    def close(self) -> None:
        """Takes what is left and ends the log."""
        while self.pump():
            pass
        os.close(self.end)
        self.log.close()


class Alarm:
    """Wakes a `poll` when a child has ended or a signal has come. One for a process."""

    def __init__(self) -> None:
        self.rings, self.ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self.ring, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def hush(self) -> None:
        try:
            os.read(self.rings, 4096)
        except BlockingIOError:
            pass


def stand_apart(output: int) -> None:
    """In the forked child: a process group of its own, its own standard streams, first to go when memory runs out."""
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(file, b"500")  # when memory runs out, the kernel shall take tasks before the executor
    except OSError:
        pass
    os.close(file)


def die_with(parent: int) -> None:
    """In the forked child, after any change of user, which would undo it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(126)


def become(command: list[str], output: int, uid: int, gid: int, supervisor: int) -> NoReturn:
    """In the forked child: turn into the command. Never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # ours, and those that Python ignores: ignored ones survive exec
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTERM,))  # blocked ones survive it too
        stand_apart(output)
        if gid >= 0:
            os.setgroups([])
            os.setgid(gid)
        if uid >= 0:
            os.setuid(uid)
        die_with(supervisor)
        os.execvp(command[0], command)
    except BaseException as error:
        os.write(2, f"cannot start {command[0]}: {error}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


class Supervisor:
    """The loop: waits for the life-line, the log pipe, ended children and two deadlines. One for each command."""

    def __init__(self, control: int, alarm: Alarm, memory_limit: int, grace: float) -> None:
        self.control = control
        self.alarm = alarm
        self.memory_limit = memory_limit
        self.grace = grace
        self.kill_at: float | None = None  # monotonic seconds; set by a stop
        self.look_at = time.monotonic() if memory_limit else None
        self.out_of_memory = False
        self.main = 0
        self.status: int | None = None

    def run(
        self,
        start: Callable[[], object],
        output: Output | None,
        given: tuple[int, ...] = (),
        clean: Callable[[], bool] = lambda: True,
    ) -> None:
        """Forks; the child calls `start`, which never returns. Returns when it and all below it are gone.

        No stop is lost on the way: SIGTERM waits, here until there is a child to pass it on to, and in the child, which
        has the handler of this process at first, until `start` has put that right and unblocks it.

        `given` are descriptors that are the child's alone from then on; `clean` is called before the end is told, and
        where it has not got all away, a second line tells that.
        """
        oom_kills = kernel_oom_kills()
        given = given if output is None else (output.printed_to, *given)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTERM,))
        try:
            _signal.signal(_signal.SIGTERM, lambda *_: self.terminate())
            try:
                self.main = os.fork()
            except OSError as error:
                if output is not None:
                    output.close()
                self.refuse(error, given)
                return
            if self.main == 0:
                start()
                os._exit(126)
        finally:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTERM,))
        for descriptor in given:
            os.close(descriptor)
        self.attend(output)
        self.kill_everything()
        if output is not None:
            output.close()
        cleaned = clean()
        assert self.status is not None
        ended = "ended {} {} {:d}".format(*self.verdict(self.status, oom_kills))
        self.tell(ended if cleaned else f"{ended}\nunclean")

    def attend(self, output: Output | None) -> None:
        """Returns when the command has ended."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.alarm.rings, select.POLLIN)
        if output is not None:
            poll.register(output.end, select.POLLIN)
        while self.status is None:
            for descriptor, _ in poll.poll(self.timeout()):
                if descriptor == self.alarm.rings:
                    self.alarm.hush()
                elif descriptor == self.control:
                    if not self.obey():
                        poll.unregister(self.control)
                elif output is not None and not output.pump():
                    poll.unregister(output.end)
            self.reap()
            self.check_deadlines()

    def verdict(self, status: int, oom_kills: int) -> tuple[str, int, bool]:
        """How it ended, and whether for want of memory; `oom_kills` is how many there had been before."""
        if os.WIFSIGNALED(status):
            kind, number = "signal", os.WTERMSIG(status)
        else:
            kind, number = "exit", os.WEXITSTATUS(status)
        # 137 is a shell's, 247 flytekit's way to say that a child died by SIGKILL.
        killed = (kind, number) in (("signal", 9), ("exit", 137), ("exit", 247))
        by_kernel = killed and self.kill_at is None and kernel_oom_kills() > oom_kills
        return kind, number, self.out_of_memory or by_kernel

    def refuse(self, error: OSError, given: Iterable[int]) -> None:
        """Nothing is started, and why."""
        for descriptor in given:
            os.close(descriptor)
        self.tell(f"refused {error}")

    def tell(self, line: str) -> None:
        try:
            os.write(self.control, line.encode() + b"\n")
        except OSError:
            pass  # nobody is left to be told

    def timeout(self) -> float | None:
        deadlines = [at for at in (self.kill_at, self.look_at) if at is not None]
        return max(0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None

    def obey(self) -> bool:
        """Reads the control socket. False when the executor is gone."""
        try:
            data = os.read(self.control, 64)
        except OSError:
            data = b""
        if data:
            self.terminate()
        else:
            self.kill_at = 0.0
        return bool(data)

    def terminate(self) -> None:
        if self.kill_at is None:
            self.kill_at = time.monotonic() + self.grace
            self.signal_everything(signal.SIGTERM)

    def check_deadlines(self) -> None:
        now = time.monotonic()
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_everything()
        elif self.look_at is not None and now >= self.look_at:
            if exceeds(self.memory_limit):
                self.out_of_memory = True
                self.kill_everything()
            # A machine with very many processes makes a look dear: never spend more than a fiftieth of a core on it.
            self.look_at = time.monotonic() + max(MEMORY_LOOK_SECONDS, 50 * (time.monotonic() - now))

    def reap(self) -> bool:
        """Collects ended children. False when none is left, ended or running."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.main:
                self.status = status

    def signal_everything(self, number: int) -> None:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill_everything(self) -> None:
        while self.reap():
            self.signal_everything(signal.SIGKILL)
            if self.reap():
                time.sleep(KILL_AGAIN_SECONDS)


def main(arguments: list[str]) -> None:
    control, log_path, log_limit, memory_limit, grace, uid, gid, _ = arguments[:8]
    os.set_inheritable(int(control), False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    me = os.getpid()
    output = Output(Log(open_log(log_path), int(log_limit)))
    supervisor = Supervisor(int(control), Alarm(), int(memory_limit), float(grace))
    supervisor.run(lambda: become(arguments[8:], output.printed_to, int(uid), int(gid), me), output)


if __name__ == "__main__":
    main(sys.argv[1:])
