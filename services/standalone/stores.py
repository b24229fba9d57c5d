"""The stores that the processes share: the user's or our own, and what must be done to them before anybody starts."""

from __future__ import annotations

from dataclasses import dataclass

from libs.store import clusters, migrate
from services.standalone.datadir import DataDir
from services.standalone.settings import Options


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


def prepare(database: str, *, etcd_is_new: bool) -> None:
    """Migrates the database, and retires the etcd cluster it knows if the one that starts now is a new one of ours.

    `etcd_is_new`: both stores are our own and etcd has no data yet. Then nobody can be elected by the older cluster any
    more: its data is gone, and the lock on the data directory says that no other system uses this database. Without
    that knowledge only an operator may say so. Blocking; raises errors of `libs.workflow.errors`.
    """
    migrate.upgrade(database)
    if etcd_is_new and (old := clusters.present(database)) is not None:
        clusters.retire(database, old)
