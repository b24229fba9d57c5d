"""Directories that one task after the other finds as they were made: what a task has left in them is removed.

What that is may be anything: links that lead elsewhere, directories without rights, trees deeper than a stack or a path
can be, a file where a directory was. So no link is followed, and nothing here is recursive.
"""

from __future__ import annotations

import errno
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

FLYTEKIT = {  # what it makes for every task, with what is in each; what lies in another comes after it
    "": ("sandbox", "task", "workspace"),
    "sandbox": ("local_flytekit",),
    "sandbox/local_flytekit": (),
    "task": ("local_flytekit",),
    "task/local_flytekit": ("engine_dir",),
    "task/local_flytekit/engine_dir": (),
    "workspace": (),
}
PRIVATE = {"": (*FLYTEKIT[""], "work", "tmp", "home"), "work": (), "tmp": (), "home": ()}  # a forked process's own
SETTLED_NS = 100_000_000  # many times what a tick of a file system's clock lasts
NO_LINK = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directory:
    """One that every task finds as it was made, its mode too.

    Whether there is anything to do is asked of an open descriptor, for which the system need not follow a path. What
    tells it is the time of the last change, which nobody can set: entries, names and removal leave their mark there.
    """

    def __init__(self, path: str, kept: Iterable[str]) -> None:
        self.path = path
        self.kept = frozenset(kept)
        self.descriptor = os.open(path, NO_LINK)
        self.mode = stat.S_IMODE(os.fstat(self.descriptor).st_mode)
        self.changed_ns = 0  # when what is known of it had last changed; 0: it has to be looked through

    def put_back(self) -> bool:
        """Whether there was another in its place. Raises OSError when something resists."""
        if self.changed_ns and _changed_ns(self.descriptor) == self.changed_ns:
            return False
        self.changed_ns = 0
        descriptor = self.open()
        replaced = not self.holds(descriptor)
        if replaced:
            self.descriptor = descriptor  # the other is let be: if a task has closed it, it is somebody else's by now
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != self.mode:
                os.fchmod(descriptor, self.mode)
            empty(descriptor, self.kept)
        finally:
            if not replaced:
                os.close(descriptor)
        changed_ns = _changed_ns(self.descriptor)
        # The clock of a file system has ticks: what comes within one would not be noticed.
        self.changed_ns = changed_ns if time.time_ns() - changed_ns > SETTLED_NS else 0
        return replaced

    def open(self) -> int:
        """It is made anew where it is gone, or something else is in its place."""
        try:
            return open_directory(self.path)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                os.unlink(self.path)
            elif error.errno != errno.ENOENT:
                raise
        os.makedirs(self.path)
        return os.open(self.path, NO_LINK)

    def holds(self, descriptor: int) -> bool:
        """Whether ours is of the same directory. Where a task has closed it, a new one may have its number."""
        try:
            return descriptor != self.descriptor and os.path.samestat(os.fstat(self.descriptor), os.fstat(descriptor))
        except OSError:
            return False


def make(path: str, layout: Mapping[str, tuple[str, ...]] = FLYTEKIT) -> dict[str, tuple[str, ...]]:
    """Makes the directories that are not there yet. Returns the path of each, with what is in it."""
    made = {f"{path}/{place}" if place else path: kept for place, kept in layout.items()}
    for directory in made:
        if not os.path.isdir(directory):
            os.makedirs(directory)
    return made


def put_back(directories: Iterable[Directory]) -> None:
    """Raises OSError when something resists, after all else is done. What lies in another comes after it."""
    problem = None
    replaced = False
    for directory in directories:
        if replaced:
            directory.changed_ns = 0  # it may lie where the other went, just as it was
        try:
            replaced = directory.put_back() or replaced
        except OSError as error:
            problem = problem or error
    if problem is not None:
        raise problem


def empty(directory: int, kept: Container[str] = ()) -> None:
    """Removes what lies in an open directory, but for what is `kept`.

    What lies deeper is moved up before it is removed: so it is reached by a name in here, however deep it was. Raises
    OSError, the first, when something resists, after all else is done.
    """
    problems: list[OSError] = []
    waiting = _strip(directory, kept, problems)
    unique, count = os.urandom(8).hex(), 0
    while waiting:
        name = waiting.pop()
        try:
            inner = open_directory(name, directory)
            try:
                for found in _strip(inner, (), problems):
                    count += 1
                    moved = f".{unique}-{count}"
                    _move(found, inner, moved, directory)
                    waiting.append(moved)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def open_directory(path: str, within: int | None = None) -> int:
    """Raises OSError (ENOTDIR) for what is none, a link above all."""
    try:
        return os.open(path, NO_LINK, dir_fd=within)
    except PermissionError:
        _take_rights(path, within)
        return os.open(path, NO_LINK, dir_fd=within)


def _strip(directory: int, kept: Container[str], problems: list[OSError]) -> list[str]:
    """Removes what is no directory. Returns what is."""
    if os.fstat(directory).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(directory, stat.S_IRWXU)
    with os.scandir(directory) as found:
        entries = [entry for entry in found if entry.name not in kept]
    directories = []
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            problems.append(error)
    return directories


def _move(name: str, source: int, moved: str, target: int) -> None:
    try:
        os.rename(name, moved, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:  # who moves a directory needs the right to write it
        _take_rights(name, source)
        os.rename(name, moved, src_dir_fd=source, dst_dir_fd=target)


def _take_rights(path: str, within: int | None) -> None:
    """A task may have taken its own right to a directory; its owner can take it back."""
    place = os.open(path, os.O_PATH | NO_LINK, dir_fd=within)
    try:
        os.chmod(f"/proc/self/fd/{place}", stat.S_IRWXU)
    finally:
        os.close(place)


def _changed_ns(descriptor: int) -> int:
    try:
        return os.stat(descriptor).st_ctime_ns
    except OSError:
        return 0  # it has been closed
