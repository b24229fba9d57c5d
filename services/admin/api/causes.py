"""Causes and events as messages."""

from __future__ import annotations

from libs.workflow.state import RecordedEvent
from protos import airscrew_pb2
from services.admin import encode
from services.admin.causes import Cause


def cause(found: Cause) -> airscrew_pb2.Cause:
    return airscrew_pb2.Cause(
        code=found.code,
        sentence=found.sentence,
        execution=encode.execution_id(found.execution),
        node_id=found.node_id,
        attempt=found.attempt,
        since_us=found.since_us,
        until_us=found.until_us,
        facts=found.facts,
        causes=map(cause, found.causes),
    )


def event(found: RecordedEvent) -> airscrew_pb2.ListEventsReply.Event:
    return airscrew_pb2.ListEventsReply.Event(
        at_us=found.at_us,
        kind=found.kind,
        node_id=found.node_id,
        attempt=found.attempt if found.attempt >= 0 else None,
        message=found.message,
    )
