"""A process that has flytekit and a version's code imported, and of which task processes are forked.

    python zygote.py CONTROL_FD

Run by the task environment's own interpreter. It runs no task but one of ours (`rehearsal.py`), holds no secret of any,
has one thread and no connection: what is forked from it may do what it likes. Where importing has left threads or
connections, it says why and forks nothing more; tasks of that module then get a process of their own each.

It does not answer for task processes either. For that it forks *wardens* (`warden.py`): each takes one task process at
a time, with the supervisor's guarantees (`supervisor.py`), and has a socket to the executor that is its life-line.

    executor ── CONTROL_FD ── zygote            import a module · fork a warden
        ├────── socket ────── warden            run a process · stop it · it has ended
        └────── channel ───── task process      what to do · what came out

Messages on the sockets of zygote and wardens are datagrams: JSON objects, with descriptors. The task's own data, its
inputs, environment and secrets, pass over the channel only, which is read after the fork: neither zygote nor warden
ever has them in memory, nor therefore any other task.

Over CONTROL_FD: `{"unpack": URI, "code": DIRECTORY}`, `{"import": MODULE}`, `{"warden": true}` + socket. Answers:
`{"ready": …}`, `{"imported": MODULE, "problem": TEXT}`, `{"warden": PID}` or `{"unforked": TEXT}`, `{"gone": PID}` (the
warden has ended, and nothing of it is left), `{"refused": TEXT}` (nothing is forked any more).
"""

# ruff: noqa: SIM105 - as in supervisor.py

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import socket
import stat
import sys
import time
import traceback
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Threads of libraries that end them before a fork and start them again after it, under the names the system shows.
FORK_SAFE_THREADS = ("jemalloc_bg_thd",)


def sibling(name: str) -> Any:
    """A script beside this one, under a name that no user's module has."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_airscrew_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Refused(Exception):
    """No task can be forked from this process, and why."""


class Zygote:
    """The process and its wardens."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.supervisor = sibling("supervisor")
        self.frames = sibling("frames")
        self.surroundings = sibling("surroundings")
        self.desks = sibling("desks")
        self.worker = sibling("worker")
        self.warden = sibling("warden")
        self.hugepages = sibling("hugepages")
        self.way = sibling("leanway").LeanWay(sibling("exchange"), sibling("shortcuts"))
        self.rehearsal: Any = None
        self.rehearse()
        self.code = ""
        self.spoilt = False
        self.gathered = False
        """Whether all that was imported lies in huge pages."""
        self.wardens: set[int] = set()
        self.supervisor.prctl(self.supervisor.PR_SET_CHILD_SUBREAPER, 1)

    def rehearse(self) -> None:
        """Runs a task of ours: what it takes for the first time, no fork has to take."""
        try:
            if self.rehearsal is None:
                self.rehearsal = sibling("rehearsal")
            self.rehearsal.rehearse(self.way, self.desks, os.path.join(os.environ["TMPDIR"], "flyte"))
        except Exception:
            traceback.print_exc()  # a flytekit that is built otherwise: it goes without

    def serve(self) -> None:
        """Until the executor is gone."""
        alarm = self.supervisor.Alarm()
        poll = self.supervisor.select.poll()
        poll.register(self.control, 1)
        poll.register(alarm.rings, 1)
        try:
            self.check()
            self.tell({"ready": self.way.fits})
        except Refused as refusal:
            self.refuse(refusal)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == alarm.rings:
                    alarm.hush()
                elif not self.obey():
                    return
            self.bury()

    def obey(self) -> bool:
        """Does what the executor says. False when it is gone."""
        data, descriptors = self.frames.receive(self.control)
        if not data:
            return False
        message = json.loads(data)
        try:
            if "unpack" in message:
                self.unpack(message["unpack"], message["code"])
            elif "import" in message:
                self.tell({"imported": message["import"], "problem": self.bring(message["import"])})
            elif self.spoilt:
                self.tell({"unforked": "what forks it has refused to"})
            else:
                self.fork_warden(descriptors[0])
        except Refused as refusal:
            self.refuse(refusal)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def refuse(self, refusal: Refused) -> None:
        """From now on nothing is forked. What was forked before goes on."""
        self.spoilt = True
        self.tell({"refused": str(refusal)})

    def tell(self, message: dict[str, Any]) -> None:
        try:
            self.control.send(json.dumps(message).encode())
        except OSError:
            pass  # the next receive says that nobody is there

    # -------------------------------------------------------------------------------------------------------- imports

    def unpack(self, uri: str, code: str) -> None:
        """Fetches and unpacks a version's code as `pyflyte-fast-execute` does; in a fork, for it takes a thread."""
        try:
            child = os.fork()
        except OSError as error:
            raise Refused(f"{uri} cannot be unpacked: {error}") from None
        if child == 0:
            problem = 1
            try:
                from flytekit.tools.fast_registration import download_distribution

                download_distribution(uri, code)
                archive = os.path.join(code, os.path.basename(uri))
                if archive.endswith(".tar.gz") and os.path.exists(archive):
                    os.unlink(archive)
                problem = 0
            except BaseException as error:
                print(f"{uri} cannot be unpacked: {error}", file=sys.stderr)
            os._exit(problem)
        if os.waitpid(child, 0)[1] != 0:
            raise Refused(f"{uri} cannot be unpacked")
        self.code = code
        given = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
        sys.path.insert(1 + len(given), code)
        importlib.invalidate_caches()

    def bring(self, module: str) -> str:
        """Imports a module of the user's. Returns what went wrong: then each task finds that out for itself."""
        problem = ""
        try:
            os.chdir(self.code or "/")
            importlib.import_module(module)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        os.chdir("/")
        self.rehearse()  # what was looked up and found is not remembered for ever: an import makes much else be found
        self.check()
        return problem

    def check(self) -> None:
        """Raises Refused when a fork of this process would not be sound."""
        import gc
        import threading

        if threading.active_count() > 1:
            names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
            raise Refused(f"importing it starts threads ({', '.join(names)})")
        if self.strangers():
            raise Refused("importing it starts a process")
        # Libraries such as OpenBLAS have threads and end them before a fork: what is there after one is there to stay.
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        if left := _foreign_threads():
            raise Refused(f"importing it starts {left} threads of native code")
        if peer := _connection(self.control.fileno()):
            raise Refused(f"importing it opens a connection ({peer})")
        gc.collect()
        gc.freeze()  # a collection in a fork would touch, and so copy, every page
        self.gathered = False

    # -------------------------------------------------------------------------------------------------------- wardens

    def fork_warden(self, descriptor: int) -> None:
        if not self.gathered and not self.wardens:  # what these have shares it until it is moved
            self.hugepages.gather()
            self.gathered = True
        me = os.getpid()
        try:
            child = os.fork()
        except OSError as error:  # what was forked before goes on, and the system may have room again
            self.tell({"unforked": str(error)})
            return
        if child == 0:
            self.control.close()
            status = 126
            try:
                self.warden.Warden(self, descriptor).serve(me)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        self.wardens.add(child)
        self.tell({"warden": child})

    def bury(self) -> None:
        """Collects ended children. After a warden's death, what it has left goes too."""
        gone = self.reap()
        while gone and (strangers := self.strangers()):
            for stranger in strangers:
                _kill(stranger)
            time.sleep(self.supervisor.KILL_AGAIN_SECONDS)
            gone += self.reap()
        for pid in gone:
            self.tell({"gone": pid})

    def reap(self) -> list[int]:
        """The wardens that have ended."""
        gone = []
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self.wardens:
                self.wardens.remove(pid)
                gone.append(pid)
        return gone

    def strangers(self) -> list[int]:
        """Everything below this process that is below no warden."""
        found: list[int] = self.supervisor.descendants(os.getpid(), self.wardens)
        return found


def _foreign_threads() -> int:
    names = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            pass
    return len([name for name in names if name not in FORK_SAFE_THREADS]) - 1


def _connection(control: int) -> str:
    """The peer of a socket that is connected to somebody, if there is one."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            if number != control and stat.S_ISSOCK(os.fstat(number).st_mode) and (peer := _peer(os.dup(number))):
                return peer
        except OSError:
            pass  # it is closed by now
    return ""


def _peer(descriptor: int) -> str:
    """Whom a socket is connected to; empty when to nobody. Takes the descriptor."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return ""
    with found:
        try:
            return str(found.getpeername())
        except OSError:
            return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def _disguise() -> None:
    """Makes this look like flytekit's command to whoever asks for `__main__` or looks for modules."""
    commands = os.path.dirname(sys.executable)
    sys.path[0] = commands
    main = types.ModuleType("__main__")
    main.__file__ = os.path.join(commands, "pyflyte-execute")
    sys.modules["__main__"] = main


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    _disguise()
    try:
        zygote = Zygote(control)
    except ImportError as error:
        control.send(json.dumps({"refused": f"flytekit cannot be imported: {error}"}).encode())
        return
    zygote.serve()


if __name__ == "__main__":
    main()
