"""Intakes on the wire: definitions, progress, items that were given up."""

from __future__ import annotations

from flyteidl.core import identifier_pb2

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId
from libs.workflow.intake import Codec, DeadItem, Intake, IntakeId, Kind, Progress
from libs.workflow.intake.definition import DEFAULT_FIELD, DEFAULT_LIMIT, DEFAULT_TRIES
from protos import intake_pb2

_KINDS = {intake_pb2.KIND_LIST: Kind.LIST, intake_pb2.KIND_STREAM: Kind.STREAM}
_CODECS = {intake_pb2.CODEC_JSON: Codec.JSON, intake_pb2.CODEC_LITERALS: Codec.LITERALS}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_CODEC_NUMBERS = {codec: number for number, codec in _CODECS.items()}


def id_of(message: intake_pb2.IntakeId) -> IntakeId:
    for part in ("project", "domain", "name"):
        if not getattr(message, part):
            raise InvalidArgument(f"id.{part}: missing")
    return IntakeId(message.project, message.domain, message.name)


def id_message(id: IntakeId) -> intake_pb2.IntakeId:
    return intake_pb2.IntakeId(project=id.project, domain=id.domain, name=id.name)


def intake_of(message: intake_pb2.Intake) -> Intake:
    """The definition, with defaults for what is empty. Raises InvalidArgument naming the field that is wrong."""
    plan = message.launch_plan
    if not plan.name:
        raise InvalidArgument("launch_plan.name: missing")
    if message.codec not in _CODECS:
        raise InvalidArgument("codec: say json or literals")
    kind = message.kind or intake_pb2.KIND_LIST
    if kind not in _KINDS:
        raise InvalidArgument("kind: say list or stream")
    return Intake(
        id=id_of(message.id),
        source=message.source,
        kind=_KINDS[kind],
        codec=_CODECS[message.codec],
        launch_plan=EntityId(
            plan.project or message.id.project, plan.domain or message.id.domain, plan.name, plan.version
        ),
        field=message.field or DEFAULT_FIELD,
        id_field=message.id_field,
        limit=message.limit or DEFAULT_LIMIT,
        tries=message.tries or DEFAULT_TRIES,
        paused=message.paused,
        created_at_us=message.created_us,
    )


def intake_message(intake: Intake) -> intake_pb2.Intake:
    message = intake_pb2.Intake(
        id=id_message(intake.id),
        source=intake.source,
        kind=_KIND_NUMBERS[intake.kind],
        codec=_CODEC_NUMBERS[intake.codec],
        field=intake.field,
        id_field=intake.id_field,
        limit=intake.limit,
        tries=intake.tries,
        paused=intake.paused,
        created_us=intake.created_at_us,
    )
    plan = message.launch_plan
    plan.resource_type = identifier_pb2.LAUNCH_PLAN
    plan.project, plan.domain, plan.name, plan.version = intake.launch_plan
    return message


def progress_of(message: intake_pb2.Progress) -> Progress:
    return Progress(
        waiting=message.waiting if message.HasField("waiting") else None,
        claimed=message.claimed,
        done=message.done,
        dead=message.dead,
        rate=message.rate,
        runner=message.runner,
        note=message.note,
    )


def progress_message(id: IntakeId, progress: Progress) -> intake_pb2.Progress:
    return intake_pb2.Progress(
        id=id_message(id),
        waiting=progress.waiting,
        claimed=progress.claimed,
        done=progress.done,
        dead=progress.dead,
        rate=progress.rate,
        runner=progress.runner,
        note=progress.note,
    )


def dead_of(message: intake_pb2.DeadItem) -> DeadItem:
    return DeadItem(message.claim, message.item, message.reason, message.at_us)


def dead_message(dead: DeadItem) -> intake_pb2.DeadItem:
    return intake_pb2.DeadItem(claim=dead.claim, item=dead.item, reason=dead.reason, at_us=dead.at_us)
