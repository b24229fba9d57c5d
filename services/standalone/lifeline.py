"""Runs a program that dies with the process that started it, however that one dies.

The supervisor may be killed with SIGKILL and then has no chance to stop its children. The kernel has: a process can ask
for a signal at the death of its parent (`prctl(PR_SET_PDEATHSIG)`), and the wish survives `execve`. Asking from
`preexec_fn` would run Python between fork and exec of a process with threads, which may deadlock; so this file is
started as a program of its own, asks, and becomes the wanted program.

    python -I -S lifeline.py PARENT_PID PROGRAM [ARGUMENT ...]

Uses the standard library only, because `-I -S` keeps its start at a few milliseconds. Linux only, like the system.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tied(*command: str) -> tuple[str, ...]:
    """The command that runs `command` so that it dies with this process."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), *command)


def main(parent: int, command: list[str]) -> None:
    """Ties this process to `parent` and becomes `command`; returns only by exception or exit.

    SIGKILL rather than SIGTERM: nobody is left to wait for an ordered stop, and a second start on the same data must
    not meet the leftovers of the first. Every service is built to survive it.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before we asked: the signal would never come
        sys.exit(f"the parent process {parent} is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
