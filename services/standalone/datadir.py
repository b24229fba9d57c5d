"""The directory that holds everything a standalone system keeps, and the right to use it.

Guarantees: one system per directory (an advisory lock that the kernel drops with its holder, so a crash leaves nothing
to clean up); a directory that is not ours is neither filled nor emptied; secrets are readable by their owner only;
files that others read (`run.json`, `config.yaml`) are replaced in one step and never seen half written.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.standalone.settings import CannotStart

LOG_GENERATIONS = 3
"""How many starts back the logs of a process are kept, beside the present one."""

_LOCK = "airscrew.lock"
_OWNED = (
    "airscrew.db",
    "airscrew.db-wal",
    "airscrew.db-shm",
    "blobs",
    "etcd",
    "executors",
    "logs",
    "secrets",
    "run.json",
    "config.yaml",
)


class DataDir:
    """Names of what lies in a data directory; obtained from `opened`, which holds the lock."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def database(self) -> Path:
        return self.root / "airscrew.db"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def config(self) -> Path:
        """Configuration for clients: `pyflyte -c`."""
        return self.root / "config.yaml"

    @property
    def run_file(self) -> Path:
        """Who runs now: process ids and addresses, for tools and tests."""
        return self.root / "run.json"

    def executor(self, name: str) -> Path:
        """Working directory of one executor: spooled reports, scratch, unpacked code."""
        path = self.root / "executors" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def rotate_log(self, name: str) -> Path:
        """Moves the log of an earlier start aside and returns the path of the new one."""
        path = self.log(name)
        path.parent.mkdir(exist_ok=True)
        for generation in range(LOG_GENERATIONS, 0, -1):
            older = path.with_name(f"{path.name}.{generation}")
            newer = path.with_name(f"{path.name}.{generation - 1}") if generation > 1 else path
            if newer.exists():
                newer.replace(older)
        return path

    def secret(self, name: str) -> Path:
        """The file of a secret: 32 random bytes in hexadecimal, made once, readable by its owner only."""
        folder = self.root / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / name
        if not path.exists():
            write_at_once(path, secrets.token_hex(32) + "\n", mode=0o600)
        return path

    def write_run_file(self, content: Mapping[str, object]) -> None:
        write_at_once(self.run_file, json.dumps(content, indent=2) + "\n")

    def reset(self) -> None:
        """Deletes what starts have left here, by name; anything else in the directory stays. Links are not followed."""
        for name in _OWNED:
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def opened(root: Path) -> Iterator[DataDir]:
    """The data directory, made if need be and locked until the end of the block.

    Raises `CannotStart` when another system uses it, when it is somebody else's, or when it cannot be written.
    """
    root = root.expanduser().absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (root / _LOCK).exists() and any(root.iterdir()):
            raise CannotStart(f"{root} is not empty and was not made by airscrew: choose another --data-dir")
        descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"data directory {root}: {error.strerror}") from error
    try:
        _lock(descriptor, root)
        yield DataDir(root)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        raise CannotStart(
            f"another airscrew (process {holder}) uses {root}: stop it, or give this one its own --data-dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def write_at_once(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces a file so that a reader sees the old or the new content, never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
