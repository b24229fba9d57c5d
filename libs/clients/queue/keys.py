"""What is enqueued and leased."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

from protos import queue_pb2


class Reason(IntFlag):
    """Why a key wants attention."""

    NONE = 0
    SUBMITTED = queue_pb2.REASON_SUBMITTED
    INTENT = queue_pb2.REASON_INTENT
    SIGNAL = queue_pb2.REASON_SIGNAL
    SWEEP = queue_pb2.REASON_SWEEP


class Key(NamedTuple):
    """An execution that wants attention."""

    id: int
    shard: int
    lane: str = ""
    """Whom to be fair to: the project."""
    priority: int = 0
    """Higher first; 0 is normal."""
    reasons: Reason = Reason.NONE
    delay_us: int = 0
    """Not before this long after arrival."""
    traceparent: str = ""
    """The execution's root span, so that the wait shows in its trace."""

    @property
    def wants_intent(self) -> bool:
        """Whether what is wanted of the execution may have changed since it was submitted."""
        return self.reasons != Reason.SUBMITTED and self.reasons != Reason.NONE


def to_message(key: Key) -> queue_pb2.Key:
    return queue_pb2.Key(
        shard=key.shard,
        id=key.id,
        lane=key.lane,
        priority=key.priority,
        reasons=key.reasons,
        delay_us=key.delay_us,
        traceparent=key.traceparent,
    )


def of_message(message: queue_pb2.Key) -> Key:
    return Key(
        message.id,
        message.shard,
        message.lane,
        message.priority,
        Reason(message.reasons),
        message.delay_us,
        message.traceparent,
    )
