"""Signals: what gates wait for, and what people and programs give them.

A value is checked against the type that the gate asks for before it is stored. It is durable when the answer comes; the
leader is told by a key in the queue, and finds it by the execution's generation if the key gets lost.
"""

from __future__ import annotations

from flyteidl.core import literals_pb2, types_pb2

from libs.blob import layout
from libs.clients.queue import Key, Reason
from libs.runtime.clock import Clock
from libs.store.query import Query
from libs.store.records import Page, SignalRecord
from libs.store.signals import Signals
from libs.workflow import types
from libs.workflow.errors import ResourceExhausted
from libs.workflow.identity import ExecutionId
from services.admin.submission import Queue

VALUE_BYTES = 1024 * 1024
"""Largest value: it is read whenever its execution is looked at. Larger things are uploaded as files."""


class Gates:
    """Gives signals, and lists them."""

    def __init__(self, signals: Signals, root: str, queue: Queue, clock: Clock) -> None:
        """`root` is where the blob store begins."""
        self._signals = signals
        self._root = root
        self._queue = queue
        self._clock = clock

    async def give(self, execution: ExecutionId, signal_id: str, value: literals_pb2.Literal) -> None:
        """Gives a signal its value.

        Raises `NotFound` while no gate waits for it (clients try again), `InvalidArgument` with the place of the
        mismatch when the value is not of the signal's type, `FailedPrecondition` when it has another one already.
        """
        wanted = types_pb2.LiteralType.FromString((await self._signals.get_signal(execution, signal_id)).type)
        types.require(value, wanted, "value")
        given = value.SerializeToString(deterministic=True)
        if len(given) > VALUE_BYTES:
            raise ResourceExhausted(f"value: {len(given)} bytes are more than the {VALUE_BYTES} allowed")
        names = layout.references(self._root, given)
        answer = await self._signals.set_signal(execution, signal_id, given, "", self._clock.now_us(), names)
        if answer.changed:
            self._queue.enqueue(Key(answer.key, answer.shard, lane=execution.project, reasons=Reason.SIGNAL))

    async def list(self, execution: ExecutionId, query: Query) -> Page[SignalRecord]:
        """Signals of an execution in order of their creation, given or not."""
        return await self._signals.list_signals(query, execution)
