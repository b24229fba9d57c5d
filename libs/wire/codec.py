"""The values of a session to protobuf and back (`protos/executor.proto`, `protos/propeller.proto`), for both its sides.

What has gathered is encoded as one message; what comes out of one message is one value.

What every attempt needs is written into its message field by field, in its place: an assignment of twenty fields takes
4 µs so, and 18 where its message is made by keyword arguments and copied into the one around it.
"""

from __future__ import annotations

from collections.abc import Iterable

from libs.wire import session
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workflow.state import EMPTY, Data
from protos import executor_pb2, propeller_pb2

# -------------------------------------------------------------------------------------------------------- an executor


def encode_executor(batch: Iterable[session.FromExecutor]) -> propeller_pb2.ExecutorMessage:
    """One message with everything in `batch`; of several heart-beats or offers the last one counts."""
    message = propeller_pb2.ExecutorMessage()
    for item in batch:
        match item:
            case session.Report():
                _write_report(message.reports.add(), item)
            case session.Heartbeat(disk_free_bytes=free, trouble=trouble):
                message.heartbeat.CopyFrom(propeller_pb2.Heartbeat(disk_free_bytes=free, trouble=trouble))
            case session.Draining():
                message.draining = True
            case session.Offer(slots=offered):
                message.offer.CopyFrom(slots_message(offered))
            case session.Hello():
                message.hello.CopyFrom(_hello_message(item))
    return message


def decode_executor(message: propeller_pb2.ExecutorMessage) -> session.ExecutorSays:
    """Raises InvalidArgument naming a field that makes no sense."""
    return session.ExecutorSays(
        hello=_hello(message.hello) if message.HasField("hello") else None,
        reports=tuple(map(_report, message.reports)),
        draining=message.draining,
        heartbeat=(
            session.Heartbeat(message.heartbeat.disk_free_bytes, message.heartbeat.trouble)
            if message.HasField("heartbeat")
            else None
        ),
        offer=slots(message.offer) if message.HasField("offer") else None,
    )


def _hello_message(hello: session.Hello) -> propeller_pb2.Hello:
    return propeller_pb2.Hello(
        executor=hello.executor,
        incarnation=hello.incarnation,
        capacity=slots_message(hello.capacity),
        snapshot=[_report_message(report) for report in hello.snapshot],
        highest_epoch=hello.highest_epoch,
        labels=hello.labels,
        version=hello.version,
        shard=hello.shard,
        offer=None if hello.offer is None else slots_message(hello.offer),
        backlog=hello.backlog,
        places=hello.places,
        former=hello.former,
        begun=map(attempt_message, hello.begun),
    )


def _hello(message: propeller_pb2.Hello) -> session.Hello:
    for field in ("executor", "incarnation"):
        if not getattr(message, field):
            raise InvalidArgument(f"hello.{field}: must not be empty")
    return session.Hello(
        executor=message.executor,
        incarnation=message.incarnation,
        capacity=slots(message.capacity),
        snapshot=tuple(map(_report, message.snapshot)),
        highest_epoch=message.highest_epoch,
        labels=dict(message.labels),
        version=message.version,
        shard=message.shard,
        offer=slots(message.offer) if message.HasField("offer") else None,
        backlog=message.backlog,
        places=message.places,
        former=message.former,
        begun=tuple(map(attempt, message.begun)),
    )


def report_to_bytes(report: session.Report) -> bytes:
    """How a report lies in an executor's spool: as it travels."""
    return _report_message(report).SerializeToString()


def report_from_bytes(data: bytes) -> session.Report:
    """What `report_to_bytes` wrote. Raises DecodeError or InvalidArgument."""
    return _report(executor_pb2.Report.FromString(data))


_PHASES = {int(phase): phase for phase in session.ReportPhase}


def _report_message(report: session.Report) -> executor_pb2.Report:
    message = executor_pb2.Report()
    _write_report(message, report)
    return message


def _write_report(message: executor_pb2.Report, report: session.Report) -> None:
    _write_attempt(message.id, report.id)
    message.seq = report.seq
    message.phase = executor_pb2.Report.Phase.ValueType(report.phase)
    message.at_us = report.at_us
    message.started_us = report.started_us
    message.shard = report.shard
    if report.outputs is not None:
        _write_data(message.outputs, report.outputs)
    message.error = report.error
    message.recoverable = report.recoverable
    message.reason = report.reason
    message.deck_uri = report.deck_uri
    message.dynamic = report.dynamic


def _report(message: executor_pb2.Report) -> session.Report:
    phase = _PHASES.get(message.phase)
    if phase is None:
        raise InvalidArgument(f"report.phase: {message.phase} is not a phase of a report")
    if message.dynamic and message.outputs.WhichOneof("value") != "uri":
        raise InvalidArgument("report.outputs: a dynamic task's report must say where its plan lies")
    return session.Report(
        id=attempt(message.id),
        seq=message.seq,
        phase=phase,
        at_us=message.at_us,
        outputs=_data(message.outputs) if message.HasField("outputs") else None,
        error=message.error,
        recoverable=message.recoverable,
        reason=message.reason,
        deck_uri=message.deck_uri,
        dynamic=message.dynamic,
        started_us=message.started_us,
        shard=message.shard,
    )


# ---------------------------------------------------------------------------------------------------------- a leader


def encode_leader(batch: Iterable[session.FromLeader]) -> propeller_pb2.LeaderMessage:
    """One message with everything in `batch`."""
    message = propeller_pb2.LeaderMessage()
    for item in batch:
        match item:
            case session.Assignment():
                _write_assign(message.assigns.add(), item)
            case session.Ack():
                ack = message.acks.add()
                _write_attempt(ack.id, item.id)
                ack.seq = item.seq
            case session.Spec():
                message.specs.append(executor_pb2.Spec(digest=item.digest, task_template=item.task_template))
            case session.Stop():
                message.stops.append(executor_pb2.Stop(id=attempt_message(item.id), reason=item.reason))
            case session.Drain():
                message.drain.CopyFrom(propeller_pb2.Drain(grace_us=item.grace_us))
            case session.Demand():
                message.demand.CopyFrom(_demand_message(item))
            case session.Welcome():
                message.welcome.CopyFrom(_welcome_message(item))
            case session.NotLeader():
                message.not_leader.leaders.extend(map(leader_message, item.leaders))
                message.not_leader.SetInParent()
    return message


def decode_leader(message: propeller_pb2.LeaderMessage) -> session.LeaderSays:
    return session.LeaderSays(
        verdict=_verdict(message),
        specs=tuple(session.Spec(spec.digest, spec.task_template) for spec in message.specs),
        assignments=tuple(map(_assignment, message.assigns)),
        stops=tuple(session.Stop(attempt(stop.id), stop.reason) for stop in message.stops),
        acks=tuple(session.Ack(attempt(ack.id), ack.seq) for ack in message.acks),
        drain=session.Drain(message.drain.grace_us) if message.HasField("drain") else None,
        demand=_demand(message.demand) if message.HasField("demand") else None,
    )


def _demand_message(demand: session.Demand) -> propeller_pb2.Demand:
    return propeller_pb2.Demand(
        each=slots_message(demand.each), count=demand.count, priority=demand.priority, gathers=demand.gathers
    )


def _demand(message: propeller_pb2.Demand) -> session.Demand:
    return session.Demand(slots(message.each), message.count, message.priority, message.gathers)


def _welcome_message(welcome: session.Welcome) -> propeller_pb2.Welcome:
    return propeller_pb2.Welcome(
        shard=welcome.shard,
        epoch=welcome.epoch,
        heartbeat_us=welcome.heartbeat_us,
        grace_us=welcome.grace_us,
        shards=welcome.shards,
    )


def leader_message(leader: session.Leader) -> propeller_pb2.NotLeader.Leader:
    return propeller_pb2.NotLeader.Leader(shard=leader.shard, address=leader.address, epoch=leader.epoch)


def _verdict(message: propeller_pb2.LeaderMessage) -> session.Welcome | session.NotLeader | None:
    if message.HasField("welcome"):
        welcome = message.welcome
        return session.Welcome(
            welcome.shard, welcome.epoch, welcome.heartbeat_us, welcome.grace_us, welcome.shards or 1
        )
    if message.HasField("not_leader"):
        leaders = message.not_leader.leaders
        return session.NotLeader(tuple(session.Leader(each.shard, each.address, each.epoch) for each in leaders))
    return None


def assignment_to_bytes(item: session.Assignment) -> bytes:
    """How an assignment lies beside what runs it: as it travels."""
    message = executor_pb2.Assign()
    _write_assign(message, item)
    return message.SerializeToString(deterministic=True)


def assignment_from_bytes(data: bytes) -> session.Assignment:
    """What `assignment_to_bytes` wrote. Raises DecodeError."""
    return _assignment(executor_pb2.Assign.FromString(data))


def _write_assign(message: executor_pb2.Assign, item: session.Assignment) -> None:
    _write_attempt(message.id, item.id)
    _write_data(message.inputs, item.inputs)
    _write_slots(message.resources, item.resources)
    message.spec_digest = item.spec_digest
    message.output_prefix = item.output_prefix
    message.raw_output_prefix = item.raw_output_prefix
    message.log_uri = item.log_uri
    message.inline_limit = item.inline_limit
    message.time_allowed_us = item.time_allowed_us
    message.traceparent = item.traceparent
    message.project = item.project
    message.domain = item.domain
    message.name = item.name
    message.workflow = item.workflow
    message.launch_plan = item.launch_plan
    message.container_image = item.container_image
    message.previous_checkpoint = item.previous_checkpoint
    message.interruptible = item.interruptible
    message.security_context = item.security_context
    message.overrides = item.overrides
    message.as_pod = item.as_pod
    message.shard = item.shard
    if item.envs:
        message.envs.update(item.envs)
    if item.array_index != session.NO_INDEX:
        message.array_index = item.array_index


def _assignment(message: executor_pb2.Assign) -> session.Assignment:
    return session.Assignment(
        id=attempt(message.id),
        spec_digest=message.spec_digest,
        inputs=_data(message.inputs),
        resources=slots(message.resources),
        output_prefix=message.output_prefix,
        raw_output_prefix=message.raw_output_prefix,
        log_uri=message.log_uri,
        inline_limit=message.inline_limit,
        time_allowed_us=message.time_allowed_us,
        traceparent=message.traceparent,
        project=message.project,
        domain=message.domain,
        name=message.name,
        workflow=message.workflow,
        launch_plan=message.launch_plan,
        container_image=message.container_image,
        previous_checkpoint=message.previous_checkpoint,
        envs=dict(message.envs),
        array_index=message.array_index if message.HasField("array_index") else session.NO_INDEX,
        interruptible=message.interruptible,
        security_context=message.security_context,
        overrides=message.overrides,
        as_pod=message.as_pod,
        shard=message.shard,
    )


# ------------------------------------------------------------------------------------------------------------- parts


def slots(message: executor_pb2.Resources) -> Slots:
    return Slots(message.cpu_millis, message.memory_bytes, message.gpus)


def slots_message(value: Slots) -> executor_pb2.Resources:
    message = executor_pb2.Resources()
    _write_slots(message, value)
    return message


def _write_slots(message: executor_pb2.Resources, value: Slots) -> None:
    message.cpu_millis = value.cpu_millis
    message.memory_bytes = value.memory_bytes
    message.gpus = value.gpus


def attempt(message: executor_pb2.AttemptId) -> AttemptId:
    return AttemptId(message.execution, message.node, message.attempt)


def attempt_message(identity: AttemptId) -> executor_pb2.AttemptId:
    message = executor_pb2.AttemptId()
    _write_attempt(message, identity)
    return message


def _write_attempt(message: executor_pb2.AttemptId, identity: AttemptId) -> None:
    message.execution = identity.execution
    message.node = identity.node
    message.attempt = identity.attempt


def _data(message: executor_pb2.Data) -> Data:
    """A literal map; an absent one is the empty one."""
    inline = message.inline
    if inline:
        return Data.of(inline)
    return Data.at(message.uri, message.size) if message.HasField("uri") else EMPTY


def _write_data(message: executor_pb2.Data, value: Data) -> None:
    message.size = value.size
    if value.uri is not None:
        message.uri = value.uri
    else:
        message.inline = value.inline or b""
