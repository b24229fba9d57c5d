"""Brings the database to the present schema, and retires an etcd cluster whose data is lost. Then it ends.

A program of its own, because all that this needs (SQLAlchemy, Alembic, a client of etcd) would stay with the supervisor
for as long as the system runs, and be imported before anything else could be started. `stores` runs it.

    AIRSCREW_DATABASE=URL python -m services.standalone.prepare [ETCD_ENDPOINT ...]

Prints `MIGRATED` when the database is ready. With endpoints it goes on when its standard input ends, which says that
etcd answers: the cluster that has elected so far is retired, if it is another one than runs now. Endpoints are given
only where both stores are our own: then the data of the other cluster is gone, and the lock on the data directory says
that no other system uses this database, so nobody can be elected by it any more. Without that knowledge only an
operator may say so. No propeller may run yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from libs.store import clusters, migrate
from libs.workflow.errors import AirscrewError

MIGRATED = "migrated"
PROBE_KEY = "/airscrew/any"
"""Whatever is read, the answer says which cluster gave it."""


def main(endpoints: Sequence[str]) -> int:
    """Returns the exit code: 1 with the reason on standard error."""
    database = os.environ["AIRSCREW_DATABASE"]
    try:
        migrate.upgrade(database)
        print(MIGRATED, flush=True)
        if endpoints:
            sys.stdin.read()
            retire_lost_etcd(database, endpoints)
    except AirscrewError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def retire_lost_etcd(database: str, endpoints: Sequence[str]) -> None:
    """Retires the etcd cluster that has elected so far, if it is another one than runs now."""
    elected_so_far = clusters.present(database)
    if elected_so_far is None:
        return
    from libs.election import Access  # a start on fresh data needs no client
    from libs.election.etcd import Etcd

    client = Etcd(Access(tuple(endpoints)), timeout_seconds=5.0)
    try:
        present = client.read(PROBE_KEY).cluster_id
    finally:
        client.close()
    if elected_so_far != present:
        clusters.retire(database, elected_so_far)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
