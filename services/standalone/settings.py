"""What a user may choose about the system on one machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 30080
"""Where Flyte's own sandbox listens, so that a configuration made for it works unchanged."""


class CannotStart(Exception):
    """The system cannot start; the message says why and what to do about it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of one start. `check` refuses combinations that cannot work."""

    data_dir: Path
    """Holds everything that survives a stop: stores, secrets, logs, the client's configuration."""
    task_python: Path
    """Python interpreter of the environment that runs users' tasks; it has flytekit."""
    port: int = DEFAULT_PORT
    """TCP port of Flyte's API on the loop-back interface; 0 takes any free one."""
    database: str | None = None
    """URL of an SQL database; None for an SQLite file of our own."""
    blob: str | None = None
    """URL of a blob store; None for a directory of our own."""
    etcd: tuple[str, ...] = ()
    """`host:port` of each etcd member; empty for an etcd of our own."""
    executors: int = 1
    propellers: int = 1
    shards: int = 1
    """Parts of all executions, each led by one propeller; the number is fixed when a database is first used."""
    reset: bool = False
    """Delete what earlier starts left in `data_dir` first."""

    @property
    def owns_both_stores(self) -> bool:
        """Database and etcd live and die with the data directory."""
        return self.database is None and not self.etcd

    def check(self) -> None:
        """Raises `CannotStart` for a combination that cannot work."""
        if self.propellers < 1 or self.executors < 1:
            raise CannotStart("--propellers and --executors need at least 1")
        if self.shards < 1:
            raise CannotStart("--shards needs at least 1")
        if self.propellers > 1 and not (self.database or "").startswith("postgres"):
            raise CannotStart(
                f"--propellers {self.propellers} needs PostgreSQL: SQLite allows one writer. "
                "Give --database postgresql://user@host:port/name, or use one propeller"
            )
        if self.blob is not None and "://" not in self.blob and not self.blob.startswith("/"):
            raise CannotStart(
                f"--blob {self.blob} is neither an absolute directory nor a URL such as s3://bucket/prefix"
            )
