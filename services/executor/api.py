"""The executor's side of the wire: `airscrew.propeller.v1.Propeller/Session` and the messages on it, as our values.

Decode, call, encode, nothing else. The channel lives exactly as long as the session: leaving `PropellerClient.session`
closes both, so that whoever comes next finds the old session ended.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol

import grpc.aio

from libs.rpc import channel as channels
from libs.rpc import errors as statuses
from libs.wire import attempts
from protos import executor_pb2, propeller_pb2, propeller_pb2_grpc
from services.executor import messages


class Propellers(Protocol):
    """How propellers are reached: gRPC, or anything else that carries the same values in order."""

    def session(
        self, address: str, outgoing: AsyncIterator[list[messages.Outgoing]]
    ) -> AbstractAsyncContextManager[AsyncIterator[messages.Incoming]]:
        """A session with the propeller at `address`; each list of `outgoing` becomes one message."""


class PropellerClient:
    """`Propellers` over gRPC. Errors are those of `libs.workflow.errors`."""

    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    @asynccontextmanager
    async def session(
        self, address: str, outgoing: AsyncIterator[list[messages.Outgoing]]
    ) -> AsyncIterator[AsyncIterator[messages.Incoming]]:
        async with channels.connect(address) as channel:
            call = propeller_pb2_grpc.PropellerStub(channel).Session(_encoded(outgoing), metadata=self._metadata)
            try:
                async with aclosing(_decoded(call)) as incoming:
                    yield incoming
            finally:
                call.cancel()


async def _encoded(outgoing: AsyncIterator[list[messages.Outgoing]]) -> AsyncIterator[propeller_pb2.ExecutorMessage]:
    async for batch in outgoing:
        yield encode_batch(batch)


async def _decoded(call: AsyncIterable[propeller_pb2.LeaderMessage]) -> AsyncGenerator[messages.Incoming, None]:
    try:
        async for message in call:
            yield decode_incoming(message)
    except grpc.aio.AioRpcError as error:
        raise statuses.from_rpc(error) from error


# ------------------------------------------------------------------------------------------------------------ outgoing


def encode_batch(batch: Iterable[messages.Outgoing]) -> propeller_pb2.ExecutorMessage:
    """One message with everything in `batch`; of several heart-beats the last one counts."""
    message = propeller_pb2.ExecutorMessage()
    for item in batch:
        match item:
            case messages.Report():
                message.reports.append(_encode_report(item))
            case messages.Heartbeat(disk_free_bytes=free, trouble=trouble):
                message.heartbeat.CopyFrom(propeller_pb2.Heartbeat(disk_free_bytes=free, trouble=trouble))
            case messages.Draining():
                message.draining = True
            case messages.Hello():
                message.hello.CopyFrom(_encode_hello(item))
    return message


def _encode_hello(hello: messages.Hello) -> propeller_pb2.Hello:
    return propeller_pb2.Hello(
        executor=hello.executor,
        incarnation=hello.incarnation,
        capacity=attempts.slots_message(hello.capacity),
        snapshot=[_encode_report(report) for report in hello.snapshot],
        highest_epoch=hello.highest_epoch,
        labels=hello.labels,
        version=hello.version,
    )


def _encode_report(report: messages.Report) -> executor_pb2.Report:
    return executor_pb2.Report(
        id=attempts.attempt_id_message(report.id),
        seq=report.seq,
        phase=executor_pb2.Report.Phase.ValueType(report.phase),
        at_us=report.at_us,
        outputs=None if report.outputs is None else attempts.data_message(report.outputs),
        error=report.error,
        recoverable=report.recoverable,
        reason=report.reason,
        deck_uri=report.deck_uri,
        dynamic=report.dynamic,
        started_us=report.started_us,
    )


def report_to_bytes(report: messages.Report) -> bytes:
    """How a report lies in the spool: as it travels."""
    return _encode_report(report).SerializeToString()


# ------------------------------------------------------------------------------------------------------------ incoming


def report_from_bytes(data: bytes) -> messages.Report:
    """What `report_to_bytes` wrote. Raises DecodeError."""
    report = executor_pb2.Report.FromString(data)
    return messages.Report(
        id=attempts.attempt_id(report.id),
        seq=report.seq,
        phase=messages.ReportPhase(report.phase),
        at_us=report.at_us,
        outputs=attempts.data(report.outputs) if report.HasField("outputs") else None,
        error=report.error,
        recoverable=report.recoverable,
        reason=report.reason,
        deck_uri=report.deck_uri,
        dynamic=report.dynamic,
        started_us=report.started_us,
    )


def decode_incoming(message: propeller_pb2.LeaderMessage) -> messages.Incoming:
    """Everything of one message of the leader."""
    return messages.Incoming(
        verdict=_decode_verdict(message),
        specs=tuple(messages.Spec(spec.digest, spec.task_template) for spec in message.specs),
        assignments=tuple(map(_decode_assign, message.assigns)),
        stops=tuple(messages.Stop(attempts.attempt_id(stop.id), stop.reason) for stop in message.stops),
        acks=tuple(messages.Ack(attempts.attempt_id(ack.id), ack.seq) for ack in message.acks),
    )


def _decode_verdict(message: propeller_pb2.LeaderMessage) -> messages.Welcome | messages.NotLeader | None:
    if message.HasField("welcome"):
        welcome = message.welcome
        return messages.Welcome(welcome.shard, welcome.epoch, welcome.heartbeat_us, welcome.grace_us)
    if message.HasField("not_leader"):
        leaders = message.not_leader.leaders
        return messages.NotLeader(tuple(messages.Leader(each.shard, each.address, each.epoch) for each in leaders))
    return None


def _decode_assign(assign: executor_pb2.Assign) -> messages.Assignment:
    return messages.Assignment(
        id=attempts.attempt_id(assign.id),
        spec_digest=assign.spec_digest,
        inputs=attempts.data(assign.inputs),
        resources=attempts.slots(assign.resources),
        output_prefix=assign.output_prefix,
        inputs_uri=assign.inputs_uri,
        raw_output_prefix=assign.raw_output_prefix,
        log_uri=assign.log_uri,
        inline_limit=assign.inline_limit,
        time_allowed_us=assign.time_allowed_us,
        traceparent=assign.traceparent,
        project=assign.project,
        domain=assign.domain,
        name=assign.name,
        workflow=assign.workflow,
        launch_plan=assign.launch_plan,
        container_image=assign.container_image,
        previous_checkpoint=assign.previous_checkpoint,
        envs=dict(assign.envs),
    )
