"""A process that answers for one task process after the other: a supervisor that was forked, and costs no interpreter.

It has a socket to the executor, which is its life-line, and directories, which its tasks have one after the other. What
passes over a task's own channel it never has in memory.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself looks up a name for each number
import json
import os
import signal
import socket
import sys
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from services.executor.bootstrap.zygote import Zygote


class Warden:
    """Answers for one task process after the other."""

    def __init__(self, zygote: Zygote, descriptor: int) -> None:
        self.zygote = zygote
        self.control = socket.socket(fileno=descriptor)
        self.control.settimeout(None)  # whatever default a user's module has set
        self.directories: list[Any] = []
        """Those of its tasks: each finds them as they were made."""
        self.surroundings: Any = None
        """What its tasks find, without what is a task's own."""

    def serve(self, parent: int) -> None:
        supervisor = self.zygote.supervisor
        os.setsid()
        supervisor.prctl(supervisor.PR_SET_CHILD_SUBREAPER, 1)
        supervisor.die_with(parent)
        alarm = supervisor.Alarm()
        while True:
            data, descriptors = self.zygote.frames.receive(self.control)
            if not data:
                return
            if data.startswith(b"{"):  # anything else is a stop that came when all was over
                self.run(json.loads(data.decode()), descriptors, alarm)

    def run(self, order: dict[str, Any], descriptors: list[int], alarm: Any) -> None:
        """Runs one task process to its end: for one task, or for all that its channel brings."""
        supervisor = self.zygote.supervisor
        channel, *printed = descriptors
        me = os.getpid()
        watch = supervisor.Supervisor(self.control.fileno(), alarm, order["memory_limit"], order["grace"])
        try:
            if not order["reuse"] and not self.directories:
                self.furnish(order["desk"])
        except OSError as error:
            watch.refuse(error, descriptors)
            return

        def start() -> NoReturn:
            try:
                supervisor.die_with(me)
                supervisor.stand_apart(os.dup(printed[0]))
                self.control.close()
                for descriptor in (alarm.rings, alarm.ring, *(() if order["reuse"] else printed)):
                    os.close(descriptor)
                worker = self.zygote.worker.Worker(
                    self.zygote.frames.Channel(channel),
                    self.zygote.way,
                    self.zygote.desks,
                    self.zygote.code,
                    self.surroundings or self.zygote.surroundings.Surroundings.here(),
                )
                _begin()
                if order["reuse"]:  # it is to see what its tasks have left, orphans too
                    supervisor.prctl(supervisor.PR_SET_CHILD_SUBREAPER, 1)
                worker.run_many(printed) if order["reuse"] else worker.run_one()
            except BaseException:
                traceback.print_exc()
            os._exit(126)

        watch.run(start, None, (channel, *printed), self.put_back)

    def furnish(self, desk: str) -> None:
        """Makes the directories that its tasks have one after the other, and tells flytekit of them."""
        desks = self.zygote.desks
        layout = desks.make(desk, desks.FLYTEKIT | desks.PRIVATE)
        self.directories = [desks.Directory(place, kept) for place, kept in layout.items()]
        self.zygote.way.settle(desk)
        self.surroundings = self.zygote.surroundings.Surroundings.here()

    def put_back(self) -> bool:
        """However a task has ended: what it has left is gone before that is told. False when something resists."""
        try:
            self.zygote.desks.put_back(self.directories)
        except Exception:
            traceback.print_exc()
            return False
        return True


def _begin() -> None:
    """What a fresh interpreter has and a fork of ours has not."""
    import asyncio

    signal.set_wakeup_fd(-1)
    for number in (_signal.SIGTERM, _signal.SIGCHLD):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGTERM,))  # a stop that came since the fork ends it here
    # A loop that was made before the fork would share its epoll with all forks; Python 3.12 does the same by itself.
    policy: Any = asyncio.get_event_loop_policy()
    local = getattr(type(policy), "_Local", None)
    if local is not None:
        policy._local = local()
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy.random" in sys.modules:
        numpy.random.seed()
