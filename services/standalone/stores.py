"""The stores that the processes share: the user's or our own, and what must be done to them before anybody starts."""

from __future__ import annotations

from dataclasses import dataclass

from libs.election import Access
from libs.election.etcd import Etcd
from libs.store import clusters, migrate
from services.standalone.datadir import DataDir
from services.standalone.settings import Options

PROBE_KEY = "/airscrew/any"
"""Whatever is read, the answer says which cluster gave it."""


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


def prepare(stores: Stores) -> None:
    """Brings the database to the present schema. Blocking; raises errors of `libs.workflow.errors`."""
    migrate.upgrade(stores.database)


def retire_lost_etcd(stores: Stores) -> None:
    """Retires the etcd cluster that has elected so far, if it is another one than runs now. Blocking.

    Only for stores that are both our own: then the data of the other cluster is gone, and the lock on the data
    directory says that no other system uses this database, so nobody can be elected by it any more. Without that
    knowledge only an operator may say so. The database must be prepared, etcd must answer, no propeller may run yet.
    """
    client = Etcd(Access(stores.etcd), timeout_seconds=5.0)
    try:
        present = client.read(PROBE_KEY).cluster_id
    finally:
        client.close()
    elected_so_far = clusters.present(stores.database)
    if elected_so_far is not None and elected_so_far != present:
        clusters.retire(stores.database, elected_so_far)
