"""The stage with a PostgreSQL of its own beneath it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.stage import Stage
from tests.support.postgres import PostgresServer


@contextmanager
def setting(folder: Path, shards: int = 1) -> Iterator[Stage]:
    """Everything runs, with data and logs in `folder`; nothing does at the end."""
    # A place of its own: the server's user may not enter what is ours.
    place = Path(tempfile.mkdtemp(prefix="airscrew-postgres-"))

    def pid() -> int | None:
        try:
            return int((place / "data" / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    try:
        server = PostgresServer(place)
        server.start()
        try:
            with Stage.built(folder, server, pid, shards) as stage:
                yield stage
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)
