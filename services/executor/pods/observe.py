"""What a pod's state means for the attempt that it runs. Pure: a pod and the time in, a stage out.

The rows are those of Flyte's Kubernetes plugins (FlytePropeller 1.16, `DemystifyPending` and its like):

    pending, not scheduled                                QUEUED, limited by `pending_seconds` only
    waiting: image is pulled, container is made           INITIALIZING
    CreateContainerError, CreateContainerConfigError      INITIALIZING within a grace, then a permanent failure
    InvalidImageName                                      a permanent failure
    ImagePullBackOff                                      INITIALIZING within a grace, then a failure of the USER
    waiting for any other reason                          a failure of the SYSTEM
    the primary container runs                            RUNNING
    the primary container has ended                       ENDED: its files say the rest; others that run don't matter
    out of memory, any container                          ENDED, out of memory
    failed: evicted, node shut down, preempted, SIGKILL   a failure of the SYSTEM, `Interrupted`
    deleted by somebody while it was not done             a failure of the SYSTEM, `UnexpectedObjectDeletion`

A grace is counted from the moment at which the containers could begin, which the pod itself says: a restarted executor
comes to the same verdict. Who is to look again when a grace is over is told so (`look_again_us`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

from libs.workflow.phases import ErrorKind
from services.executor import outcome
from services.executor.outcome import Outcome
from services.executor.runner import Exit

Pod = Mapping[str, Any]
"""As the API server has it, in JSON's types."""


class Stage(IntEnum):
    """How far a pod is."""

    QUEUED = 1
    """No node has it."""
    INITIALIZING = 2
    RUNNING = 3
    ENDED = 4
    """Its primary container has come to an end of its own: `exit`."""
    FAILED = 5
    """It will not come to one: `outcome`."""

    @property
    def final(self) -> bool:
        return self >= Stage.ENDED


@dataclass(frozen=True, slots=True)
class Graces:
    """How long a pod may stay in states that may pass, in seconds; Flyte's defaults."""

    create_container_error_seconds: float = 180.0
    create_container_config_error_seconds: float = 0.0
    image_pull_seconds: float = 180.0
    pending_seconds: float = 0.0
    """Without a node. 0: for ever."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a pod's state means now."""

    stage: Stage
    reason: str = ""
    """For people, why it is no further, as `Code: sentence`; empty as long as it comes along as it should."""
    exit: Exit | None = None
    """With ENDED."""
    outcome: Outcome | None = None
    """With FAILED."""
    log_tail: str = ""
    """The end of the primary container's log, as its state quotes it."""
    started_us: int = 0
    """When the primary container has begun; 0 as long as it has not."""
    look_again_us: int = 0
    """When the same state means something else; 0: never."""
    gone: bool = False
    """Nothing of it runs any more."""


_OVER: Final = ("Succeeded", "Failed")
_PASSING: Final = frozenset({"", "ErrImagePull", "ContainerCreating", "PodInitializing"})
_INTERRUPTED: Final = frozenset(
    {
        "Evicted",
        "Shutdown",
        "Terminated",
        "NodeShutdown",
        "NodeAffinity",
        "NodeLost",
        "Preempting",
        "UnexpectedAdmissionError",
        "UnknownError",
    }
)
"""Reasons of failed pods that are no deed of their own. Those for which a node refuses a pod begin with `OutOf`."""
_OUT_OF_MEMORY: Final = "OOMKilled"


def missing() -> Observation:
    """There was a pod, and now there is none."""
    gone = outcome.system("ResourceDeletedExternally", "the pod was deleted, and not by its executor")
    return Observation(Stage.FAILED, outcome=gone, gone=True)


def is_over(pod: Pod) -> bool:
    """Whether nothing of it runs any more. The phase says that a little later than its containers."""
    status = pod.get("status", {})
    states = [each.get("state") or {} for each in _statuses(status)]
    return status.get("phase") in _OVER or (bool(states) and all("terminated" in state for state in states))


def observe(pod: Pod, primary: str, now_us: int, graces: Graces, whole: bool = False) -> Observation:
    """The stage of a pod whose task is container `primary`; with `whole`, it has succeeded only when all have ended."""
    status, phase = pod.get("status", {}), pod.get("status", {}).get("phase", "Pending")
    container = _container(status, primary)
    ended, running = container.get("terminated"), container.get("running")
    is_over = phase in _OVER
    started_us = moment_us((ended or running or {}).get("startedAt"))
    if phase == "Failed" and (verdict := _interrupted(pod)):
        return Observation(Stage.FAILED, outcome=verdict, started_us=started_us, gone=True)
    if ended is not None and not (whole and not is_over and ended.get("exitCode", 0) == 0):
        return _ended(pod, phase, ended, started_us, is_over)
    if is_over:
        return _over_without_primary(status, phase, primary, started_us)
    if _is_deleted(pod):
        return Observation(Stage.FAILED, outcome=_deleted(), started_us=started_us)
    if running is not None or ended is not None:
        return Observation(Stage.RUNNING, started_us=started_us)
    return _pending(pod, now_us, graces)


# ------------------------------------------------------------------------------------------------------------ pending


def _pending(pod: Pod, now_us: int, graces: Graces) -> Observation:
    status = pod.get("status", {})
    scheduled = _condition(status, "PodScheduled")
    if not pod.get("spec", {}).get("nodeName") and scheduled.get("status") != "True" and not _statuses(status):
        return _unscheduled(pod, scheduled, now_us, graces)
    patient: Observation | None = None
    for each in _statuses(status):
        waiting = each.get("state", {}).get("waiting")
        if waiting is None:
            continue
        seen = _waiting(each.get("name", ""), waiting, _since_us(pod), now_us, graces)
        if seen.stage is Stage.FAILED:
            return seen
        if patient is None or (seen.look_again_us and not patient.look_again_us):
            patient = seen
    return patient or Observation(Stage.INITIALIZING, _gist(status))


def _unscheduled(pod: Pod, scheduled: Mapping[str, Any], now_us: int, graces: Graces) -> Observation:
    reason = _sentence(scheduled.get("reason", ""), scheduled.get("message", ""))
    if not graces.pending_seconds:
        return Observation(Stage.QUEUED, reason)
    until_us = moment_us(pod.get("metadata", {}).get("creationTimestamp")) + round(graces.pending_seconds * 1e6)
    if now_us < until_us:
        return Observation(Stage.QUEUED, reason, look_again_us=until_us)
    message = f"no node took the pod within {graces.pending_seconds:g} s{reason and f': {reason}'}"
    return Observation(Stage.FAILED, outcome=outcome.system("PodPendingTimeout", message))


def _waiting(name: str, waiting: Mapping[str, Any], since_us: int, now_us: int, graces: Graces) -> Observation:
    code = waiting.get("reason") or ""
    reason = _sentence(f"container {name}", _sentence(code, waiting.get("message") or ""))
    if code in _PASSING:
        return Observation(Stage.INITIALIZING, reason if code == "ErrImagePull" else "")
    grace: float = 0.0
    match code:
        case "CreateContainerError":
            end, grace = _user(code, reason, recoverable=False), graces.create_container_error_seconds
        case "CreateContainerConfigError":
            end, grace = _user(code, reason, recoverable=False), graces.create_container_config_error_seconds
        case "InvalidImageName":
            end = _user(code, reason, recoverable=False)
        case "ImagePullBackOff":
            end, grace = _user(code, reason, recoverable=True), graces.image_pull_seconds
        case _:
            end = outcome.system(code, reason)
    until_us = since_us + round(grace * 1e6)
    if grace and now_us < until_us:
        return Observation(Stage.INITIALIZING, reason, look_again_us=until_us)
    return Observation(Stage.FAILED, reason, outcome=end)


def _user(code: str, message: str, *, recoverable: bool) -> Outcome:
    return outcome.failed(ErrorKind.USER, code, message, recoverable=recoverable)


def _since_us(pod: Pod) -> int:
    """From when on its containers could begin: after those that prepare the pod, where there are any."""
    status = pod.get("status", {})
    for kind in ("Initialized", "PodScheduled"):
        condition = _condition(status, kind)
        if condition.get("status") == "True" and condition.get("lastTransitionTime"):
            return moment_us(condition["lastTransitionTime"])
    return moment_us(status.get("startTime") or pod.get("metadata", {}).get("creationTimestamp"))


# -------------------------------------------------------------------------------------------------------------- ended


def _ended(pod: Pod, phase: str, ended: Mapping[str, Any], started_us: int, is_over: bool) -> Observation:
    """The primary container has ended, whatever the others do."""
    code, reason = int(ended.get("exitCode", 0)), ended.get("reason") or ""
    memory = reason == _OUT_OF_MEMORY or (is_over and _any_out_of_memory(pod.get("status", {})))
    tail = ended.get("message") or ""
    if not memory and _is_deleted(pod) and (code or phase == "Failed"):
        return Observation(Stage.FAILED, outcome=_deleted(), started_us=started_us, log_tail=tail, gone=is_over)
    if reason == "ContainerStatusUnknown":
        lost = outcome.system("Interrupted", "the node does not know what became of the container")
        return Observation(Stage.FAILED, outcome=lost, started_us=started_us, gone=is_over)
    exit = Exit(code=code, out_of_memory=memory)
    return Observation(Stage.ENDED, exit=exit, log_tail=tail, started_us=started_us, gone=is_over)


def _over_without_primary(status: Mapping[str, Any], phase: str, primary: str, started_us: int) -> Observation:
    """The pod is over, and says nothing of the container that matters: another one of it has failed before."""
    memory = _any_out_of_memory(status)
    if phase == "Succeeded" or memory:
        return Observation(Stage.ENDED, exit=Exit(code=0, out_of_memory=memory), started_us=started_us, gone=True)
    for each in _statuses(status):
        ended = each.get("state", {}).get("terminated")
        if ended is not None and ended.get("exitCode"):
            how = f"container {each.get('name')} exited with code {ended['exitCode']} before {primary} was started"
            message = f"{how}: {_sentence(ended.get('reason') or '', ended.get('message') or '')}"
            return Observation(Stage.FAILED, outcome=_user("TaskProcessFailed", message, recoverable=True), gone=True)
    message = f"the pod failed: {_gist(status) or 'nobody knows why'}"
    return Observation(Stage.FAILED, outcome=outcome.system("Interrupted", message), gone=True)


def _interrupted(pod: Pod) -> Outcome | None:
    """Whether a failed pod was ended from outside."""
    status = pod.get("status", {})
    reason = status.get("reason") or ""
    if reason == "DeadlineExceeded":
        return _user(reason, f"the pod ran longer than its activeDeadlineSeconds: {_gist(status)}", recoverable=True)
    disrupted = _condition(status, "DisruptionTarget")
    if disrupted.get("status") == "True":
        why = _sentence(disrupted.get("reason") or "", disrupted.get("message") or "")
        return outcome.system("Interrupted", f"the pod was interrupted: {why or _gist(status)}")
    if reason in _INTERRUPTED or reason.startswith("OutOf"):
        return outcome.system("Interrupted", f"the pod was interrupted: {_gist(status)}")
    return None


def _deleted() -> Outcome:
    return outcome.system("UnexpectedObjectDeletion", "the pod was deleted while it was not done, not by its executor")


# -------------------------------------------------------------------------------------------------------------- parts


def _is_deleted(pod: Pod) -> bool:
    return bool(pod.get("metadata", {}).get("deletionTimestamp"))


def _statuses(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _container(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The state of a container; empty when the pod says nothing of it."""
    for each in status.get("containerStatuses") or ():
        if each.get("name") == name:
            state: Mapping[str, Any] = each.get("state") or {}
            return state
    return {}


def _any_out_of_memory(status: Mapping[str, Any]) -> bool:
    ends = (each.get("state", {}).get("terminated") or {} for each in _statuses(status))
    return any(end.get("reason") == _OUT_OF_MEMORY for end in ends)


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})


def _gist(status: Mapping[str, Any]) -> str:
    return _sentence(status.get("reason") or "", status.get("message") or "")


def _sentence(reason: str, message: str) -> str:
    return ": ".join(part for part in (reason, message) if part)


def moment_us(text: str | None) -> int:
    """A time as Kubernetes writes it; 0 for none."""
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000) if text else 0
