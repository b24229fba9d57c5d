"""Where the database is: `sqlite:////absolute/path` or `postgresql://user@host:port/database`, and nothing else.

A SQLite database must lie on a local disk. Its write-ahead log is shared memory plus file locks, and a network file
system keeps neither promise: two machines would corrupt the file without an error. So those are refused at open.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from libs.workflow.errors import FailedPrecondition, InvalidArgument

_NETWORK_FILE_SYSTEMS = {  # f_type of statfs(2); FUSE is not among them: it does not tell local from remote
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB2",
    0xFF534D42: "CIFS",
    0x01021997: "9p",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x00C36400: "Ceph",
    0x73757245: "Coda",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
    0x19830326: "BeeGFS",
}


@dataclass(frozen=True, slots=True)
class Sqlite:
    """A SQLite file."""

    path: Path


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL database, as libpq understands it."""

    url: str

    @property
    def for_sqlalchemy(self) -> str:
        """The same, with the driver named that SQLAlchemy is to use."""
        return "postgresql+psycopg" + self.url.removeprefix("postgresql")

    @property
    def for_libpq(self) -> str:
        """The same, whatever driver it named."""
        return f"postgresql:{self.url.partition(':')[2]}"


Address = Sqlite | Postgres


def parse(url: str) -> Address:
    """The database that `url` names. Raises InvalidArgument for any other kind of address."""
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        return Sqlite(_sqlite_path(url, parts.netloc, parts.path))
    if scheme in ("postgresql", "postgres"):
        if not parts.path.strip("/"):
            raise InvalidArgument(f"database: {without_password(url)} names no database (postgresql://…/NAME)")
        return Postgres("postgresql" + url[len(parts.scheme) :])
    raise InvalidArgument(f"database: {without_password(url)!r} is neither sqlite:////PATH nor postgresql://HOST/NAME")


def without_password(url: str) -> str:
    """The address for people and logs."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":…@")).geturl()


def require_local_disk(path: Path) -> None:
    """Raises FailedPrecondition when the file is, or would be, on a network file system."""
    directory = path if path.exists() else path.parent
    name = _NETWORK_FILE_SYSTEMS.get(_file_system_type(directory))
    if name is not None:
        raise FailedPrecondition(
            f"database: {path} is on a network file system ({name}), where SQLite is not safe: "
            "use a local disk, or PostgreSQL"
        )


def _sqlite_path(url: str, host: str, path: str) -> Path:
    # SQLAlchemy writes an absolute path with four slashes and a relative one with three. A path relative to the working
    # directory would differ between services, so both mean the absolute path here.
    found = Path(unquote(path[1:] if path.startswith("//") else path))
    if host or not path.startswith("/") or not found.name:
        raise InvalidArgument(f"database: {url!r} must be an absolute path: sqlite:////PATH")
    return found


def _file_system_type(directory: Path) -> int:
    """`f_type` of statfs(2), which Python does not expose; 0 where the C library has no such call."""
    statfs = getattr(ctypes.CDLL(None, use_errno=True), "statfs", None)
    if statfs is None:
        return 0
    answer = ctypes.create_string_buffer(512)  # the structure is 120 bytes on Linux, and f_type is its first word
    if statfs(os.fsencode(directory), answer) != 0:
        code = ctypes.get_errno()
        raise FailedPrecondition(f"database: {directory}: {os.strerror(code)}")
    return ctypes.c_long.from_buffer(answer).value & 0xFFFFFFFF
