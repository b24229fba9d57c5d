"""The stores that the processes share: the user's or our own, and what must be done to them before anybody starts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.standalone import lifeline
from services.standalone.datadir import DataDir
from services.standalone.settings import CannotStart, Options


@dataclass(frozen=True, slots=True)
class Stores:
    """Where they are, as the services spell it."""

    database: str
    blob: str
    etcd: tuple[str, ...]


def chosen(options: Options, data: DataDir, etcd: tuple[str, ...]) -> Stores:
    """What the user named, else our own in the data directory. `etcd` are the endpoints of the one that is used."""
    if options.blob is None:
        data.blobs.mkdir(mode=0o700, exist_ok=True)
    return Stores(
        database=options.database or f"sqlite:///{data.database}",
        blob=options.blob or str(data.blobs),
        etcd=etcd,
    )


class Preparation:
    """What becomes of the stores while other things start: a process that runs `prepare`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def migrated(self) -> None:
        """Returns when the database is at the present schema. Raises `CannotStart` with the reason."""
        assert self._process.stdout is not None
        if not await self._process.stdout.readline():
            await self.finished()

    async def finished(self) -> None:
        """Lets it go on, for etcd answers; returns when all is done. Raises `CannotStart` with the reason."""
        _, reason = await self._process.communicate(b"")
        if self._process.returncode:
            raise CannotStart(f"stores: {reason.decode(errors='replace').strip()}")


@asynccontextmanager
async def prepared(stores: Stores, environ: Mapping[str, str], *, retire_lost_etcd: bool) -> AsyncIterator[Preparation]:
    """Begins with it; whatever is not done at the end of the block is not wanted any more."""
    process = await asyncio.create_subprocess_exec(
        *lifeline.tied(sys.executable, "-P", "-m", "services.standalone.prepare"),
        *(stores.etcd if retire_lost_etcd else ()),
        env={**environ, "AIRSCREW_DATABASE": stores.database},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Preparation(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
