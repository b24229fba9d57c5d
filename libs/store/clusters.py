"""Which etcd elects the leaders.

The first claim records its etcd cluster, and from then on no other is believed (see `claims`). When a cluster is gone
for good, an operator retires it here, and the next claim from another one is accepted. A retired cluster stays retired.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, select, text

from libs.store import schema
from libs.store.engine_sync import open_sync
from libs.store.failures import translated

_RETIRE = text(
    "INSERT INTO etcd_clusters (cluster_id, retired) VALUES (:cluster_id, 1)"
    " ON CONFLICT (cluster_id) DO UPDATE SET retired = 1"
)


def retire(url: str, cluster_id: str) -> None:
    """Refuses every claim from that etcd cluster, for ever. Harmless when it is retired already. Raises Unavailable."""
    with _connected(url) as connection:
        connection.execute(_RETIRE, {"cluster_id": cluster_id})


def present(url: str) -> str | None:
    """The etcd cluster whose leaders are believed; None before the first claim. Raises Unavailable."""
    table = schema.etcd_clusters
    with _connected(url) as connection:
        found: str | None = connection.scalar(select(table.c.cluster_id).where(table.c.retired == 0))
        return found


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    with translated():
        engine = open_sync(url)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()
