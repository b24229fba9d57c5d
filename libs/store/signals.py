"""Signals as people see them: gates wait for them, somebody gives them.

The leader adds a signal's row when its gate becomes active; the value is written here, once, in one transaction with
the execution's generation, by which the leader finds it even if nobody tells it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Connection, exists, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.store import fields, holds, schema
from libs.store.engine import reading, writing
from libs.store.holds import Alchemy, Pair
from libs.store.listing import page_of, select_page
from libs.store.lookup import is_named, is_of, unknown
from libs.store.query import Query
from libs.store.records import Page, SignalAnswer, SignalRecord
from libs.workflow.errors import FailedPrecondition, NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import ExecutionPhase, NodeKind


class _Waiting(NamedTuple):
    """A signal with its execution."""

    key: int
    shard: int
    phase: int
    value: bytes | None
    gates: bool
    """Whether a gate of the execution is open: several may wait for one signal, and its row names the first only."""


class Signals:
    """The signals of executions. Every method may also raise `Unavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def set_signal(
        self,
        execution: ExecutionId,
        signal_id: str,
        value: bytes,
        principal: str,
        now_us: int,
        names: Collection[ExecutionId] = (),
    ) -> SignalAnswer:
        """Gives a signal its value, a serialized `flyteidl.core.Literal` of the signal's type.

        `names` are executions whose files the value names: they are kept as long as this one is. Giving the same value
        again changes nothing. Raises NotFound when there is no such execution or none of its
        gates waits for that signal yet, and FailedPrecondition when it has another value or nothing waits any more.
        """
        table = schema.signals
        async with writing(self._engine) as connection:
            found = await _waiting(connection, execution, signal_id)
            given = (
                update(table)
                .where(table.c.execution_key == found.key, table.c.signal_id == signal_id, table.c.value.is_(None))
                .values(value=value, principal=principal, set_at_us=now_us)
                .returning(table.c.signal_id)
            )
            if (await connection.execute(given)).one_or_none() is None:
                # Another call was first, perhaps while this one waited: what it has given is there now.
                before = (await _waiting(connection, execution, signal_id)).value
                if before != value:
                    raise FailedPrecondition(f"signal {signal_id!r} of execution {execution} has another value already")
                return SignalAnswer(found.key, found.shard, False)
            _require_waiting(found, execution, signal_id)
            executions = schema.executions
            wish = update(executions).where(executions.c.key == found.key)
            await connection.execute(wish.values(generation=executions.c.generation + 1))
            if names:
                await connection.run_sync(_hold, found.key, names)
        return SignalAnswer(found.key, found.shard, True)

    async def get_signal(self, execution: int | ExecutionId, signal_id: str) -> SignalRecord:
        """Raises NotFound."""
        wanted = _SIGNAL.where(is_of(schema.signals, execution), schema.signals.c.signal_id == signal_id)
        async with reading(self._engine) as connection:
            row = (await connection.execute(wanted)).one_or_none()
        if row is None:
            raise _no_signal(execution, signal_id)
        return _signal(row)

    async def list_signals(self, query: Query, execution: int | ExecutionId | None = None) -> Page[SignalRecord]:
        """Signals in order of their creation: those of one execution, those of all for None."""
        signals = _SIGNAL if execution is None else _SIGNAL.where(is_of(schema.signals, execution))
        statement = select_page(signals, fields.SIGNALS, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, _signal)


_SIGNAL = select(
    *(schema.executions.c[part] for part in ("project", "domain", "name")),
    *(
        schema.signals.c[name]
        for name in ("signal_id", "node_id", "type", "value", "principal", "created_at_us", "set_at_us")
    ),
).join_from(schema.signals, schema.executions, schema.signals.c.execution_key == schema.executions.c.key)

_OPEN_GATE = exists().where(
    schema.nodes.c.execution_key == schema.executions.c.key,
    schema.nodes.c.kind == int(NodeKind.GATE),
    literal_column(schema.of("nodes", schema.NODE_IS_OPEN), Boolean),
)

_WAITING = select(
    *(schema.executions.c[name] for name in ("key", "shard", "phase")),
    schema.signals.c.value,
    _OPEN_GATE.label("gates"),
).join_from(schema.executions, schema.signals, schema.signals.c.execution_key == schema.executions.c.key)


def _hold(connection: Connection, key: int, names: Collection[ExecutionId]) -> None:
    database = Alchemy(connection)
    sources = holds.lock(database.execute, database, names, [key])
    holds.add(database.execute, sources, [Pair(key, source) for source in sources.keys.values()])


async def _waiting(connection: AsyncConnection, execution: ExecutionId, signal_id: str) -> _Waiting:
    named = is_named(schema.executions, execution)
    row = (await connection.execute(_WAITING.where(named, schema.signals.c.signal_id == signal_id))).one_or_none()
    if row is not None:
        return _Waiting._make(row)
    there = select(schema.executions.c.key).where(named, schema.executions.c.collected_at_us.is_(None))
    if (await connection.execute(there)).one_or_none() is None:
        raise await unknown(connection, execution)
    raise _no_signal(execution, signal_id)


def _require_waiting(found: _Waiting, execution: ExecutionId, signal_id: str) -> None:
    """Raises FailedPrecondition when nothing waits for the signal any more."""
    if ExecutionPhase(found.phase).terminal:
        raise FailedPrecondition(f"signal {signal_id!r}: execution {execution} has ended")
    if not found.gates:
        raise FailedPrecondition(f"signal {signal_id!r}: no node of execution {execution} waits any more")


def _no_signal(execution: int | ExecutionId, signal_id: str) -> NotFound:
    return NotFound(f"execution {execution} has no node that waits for a signal {signal_id!r}, or not yet")


def _signal(row: Sequence[Any]) -> SignalRecord:
    return SignalRecord(ExecutionId(*row[0:3]), *row[3:])
