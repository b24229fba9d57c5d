"""The executor's own directory: who it belongs to, and where in it things lie.

lock      held (flock) as long as the executor lives; a second executor on the same directory is refused
id        the executor's stable name, made at the first start
journal   what runs, and the highest epoch seen (`journal`)
spool     final reports that nobody has acknowledged (`spool`)
scratch/  a directory for each attempt that needs one of its own, removed when it ends
warm/     one directory for each process that attempts are forked from or share, removed when it ends
logs/     logs on their way to a blob store that is not a directory, removed when uploaded
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import secrets
import socket
from pathlib import Path

from libs.workflow import errors
from libs.workflow.identity import AttemptId
from services.executor.bootstrap import desks

# A file's name may have 255 bytes; numbers and endings need some of them.
_MAX_NODE_LENGTH = 128


class DataDir:
    """Opens (and makes) the directory and holds its lock until `close`.

    Raises FailedPrecondition when another executor has it, Unavailable when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            for directory in (path, path / "scratch", path / "warm", path / "logs"):
                directory.mkdir(parents=True, exist_ok=True)
                directory.chmod(0o711)  # task processes of another user pass through to their own, and see nothing else
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.Unavailable(f"DATA_DIR {path} cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise errors.FailedPrecondition(f"DATA_DIR {path} belongs to an executor that runs") from None

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @functools.cached_property
    def scratch_root(self) -> Path:
        return self.path / "scratch"

    @property
    def warm_root(self) -> Path:
        return self.path / "warm"

    def scratch(self, id: AttemptId) -> Path:
        """Where this attempt's private directories lie."""
        return self.scratch_root / file_name(id)

    def log(self, id: AttemptId) -> Path:
        """Where this attempt's log is gathered before it is uploaded."""
        return self.path / "logs" / f"{file_name(id)}.log"

    def executor_id(self) -> str:
        """The stable name: the host's, so that people know it, and a number, so that it is unique."""
        path = self.path / "id"
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
            temporary = path.with_suffix(".new")
            temporary.write_text(name, encoding="utf-8")
            temporary.replace(path)
            return name

    def sweep(self) -> None:
        """Removes what attempts of an earlier life have left. Their processes must be gone."""
        for directory in (self.scratch_root, self.warm_root, self.path / "logs"):
            for entry in directory.iterdir():
                remove(entry)

    def close(self) -> None:
        os.close(self._lock)


def file_name(id: AttemptId) -> str:
    """A name that no other attempt has. Ids of deeply nested nodes are longer than a file's name may be."""
    node = id.node
    if len(node) > _MAX_NODE_LENGTH:
        node = f"{node[:40]}-{hashlib.blake2b(node.encode(), digest_size=16).hexdigest()}"
    return f"{id.execution}-{node}-{id.attempt}"


def remove(path: Path) -> None:
    """Removes a file or tree, whatever a task has made of it; what resists is left for the next sweep."""
    with contextlib.suppress(OSError):
        try:
            directory = desks.open_directory(str(path))
        except OSError:
            path.unlink()
            return
        try:
            desks.empty(directory)
        finally:
            os.close(directory)
        path.rmdir()


def make_scratch(path: Path, uid: int | None, gid: int | None) -> None:
    """Makes an attempt's private directories, empty, owned by who will use them.

    Raises Unavailable when the disk refuses.
    """
    try:
        remove(path)
        for directory in (path, path / "work", path / "tmp", path / "home"):
            _make(directory, uid, gid)
    except OSError as error:
        raise errors.Unavailable(f"no private directory can be made: {error}") from error


def place(path: Path, content: bytes, uid: int | None, gid: int | None) -> None:
    """Writes a file into a private directory, which is made for it, for the task to read.

    Raises Unavailable when the disk refuses.
    """
    try:
        if not path.parent.exists():
            _make(path.parent, uid, gid)
        path.write_bytes(content)
    except OSError as error:
        raise errors.Unavailable(f"{path} cannot be written: {error}") from error


def _make(directory: Path, uid: int | None, gid: int | None) -> None:
    directory.mkdir(mode=0o700)
    if uid is not None and gid is not None:
        os.chown(directory, uid, gid)
