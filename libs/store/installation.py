"""What is fixed for the life of an installation: into how many shards its executions are divided.

The number is part of where every execution is found, so services that had two opinions of it would leave executions to
nobody. The first service that starts writes it down; from then on each must be configured with the same.
"""

from __future__ import annotations

from sqlalchemy import select, text

from libs.store import schema
from libs.store.engine_sync import open_sync
from libs.store.failures import translated
from libs.workflow.errors import FailedPrecondition

_FIRST = text("INSERT INTO installation (id, shards) VALUES (1, :shards) ON CONFLICT DO NOTHING")


def agree_on_shards(url: str, shards: int) -> None:
    """Writes the number down in a database that has none. Blocking.

    Raises FailedPrecondition, which names the setting, when it is another one, and Unavailable.
    """
    table = schema.installation
    with translated():
        engine = open_sync(url)
        try:
            with engine.begin() as connection:
                connection.execute(_FIRST, {"shards": shards})
                found = connection.scalar(select(table.c.shards))
        finally:
            engine.dispose()
    if found != shards:
        raise FailedPrecondition(
            f"AIRSCREW_SHARDS (--shards of airscrew start) is {shards}, but this installation has {found}: "
            "the number is fixed when a database is first used"
        )
