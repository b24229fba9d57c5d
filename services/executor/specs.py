"""Which tasks there are: their templates, as leaders have sent them, and which of them can never run here."""

from __future__ import annotations

import hashlib
import logging

from flyteidl.core import tasks_pb2, workflow_pb2
from google.protobuf.message import DecodeError

from libs.wire.session import Assignment, Spec
from libs.workflow import errors, supported
from libs.workflow.backend import NEEDS_PODS, Backend

logger = logging.getLogger(__name__)


class Specs:
    """Task templates by their digests. One travels once in the session of a shard."""

    def __init__(self) -> None:
        self._specs: dict[int, dict[bytes, tasks_pb2.TaskTemplate]] = {}

    def begin(self, shard: int) -> None:
        """A session of this shard begins."""
        self._specs[shard] = {}

    def learn(self, shard: int, spec: Spec) -> None:
        """Keeps a spec for the session's assignments. One that is damaged is left out, and its assignments fail."""
        if hashlib.sha256(spec.task_template).digest() != spec.digest:
            logger.error("a task template does not match its digest %s", spec.digest.hex())
            return
        try:
            self._specs[shard][spec.digest] = tasks_pb2.TaskTemplate.FromString(spec.task_template)
        except DecodeError:
            logger.exception("the task template %s cannot be read", spec.digest.hex())

    def find(self, shard: int, digest: bytes) -> tasks_pb2.TaskTemplate | None:
        return self._specs[shard].get(digest)


def unfit(backend: Backend, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> str:
    """Why a task can never run here: who let it in was told another backend than this executor. Empty when it can."""
    if backend is Backend.POD:
        return ""
    wish = supported.wish_for_a_pod(template)
    if not wish and assignment.overrides:
        overrides = workflow_pb2.TaskNodeOverrides.FromString(assignment.overrides)
        wish = supported.wish_of_a_node_for_a_pod(overrides)
    if wish:
        return f"{wish}: this task {NEEDS_PODS}"
    if assignment.as_pod:  # then nobody has looked whether a process can run it
        try:
            supported.refuse_unbuilt_task(template, Backend.PROCESS)
        except errors.Unimplemented as error:
            return error.message
    return ""
