"""What an attempt's end means: from how the process ended and which files it wrote to one final report. Pure.

The order is Flyte's, and the exit code comes late in it, because flytekit exits with 0 after a user's exception too:

1. The executor ended it itself: timeout, or the executor stops. (Told to stop by the leader: ABORTED.)
2. `error.pb` decides, whatever else there is. Only it says NON_RECOVERABLE.
3. The process did not end with 0. Nobody knows what it was up to, so the retry budgets decide:
   lack of memory → USER `OOMKilled` · SIGKILL by somebody else → SYSTEM `Interrupted`, as when a machine is taken
   away · any other exit code or signal → USER. All are recoverable, as a failed pod is in Flyte.
4. `futures.pb`: a dynamic task's plan. 5. `outputs.pb`.
6. Neither, though outputs are declared: SYSTEM `OutputsNotFound`, recoverable. Nothing declared: success.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from typing import Final

from flyteidl.core import errors_pb2, execution_pb2, literals_pb2
from google.protobuf.message import DecodeError

from libs.wire.session import ReportPhase
from libs.workflow import errors
from libs.workflow.phases import ErrorKind
from libs.workflow.state import EMPTY, Data
from services.executor.runner import Exit

# A message longer than this is cut in the middle: it travels in reports and rows, and error.pb has all of it.
MESSAGE_LIMIT: Final = 32 << 10

# What a process returns whose child died by SIGKILL: a shell's 128 + 9, and flytekit's -9 as one byte.
_CODES_OF_SIGKILL: Final = (137, 247)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt, without its number and time."""

    phase: ReportPhase
    outputs: Data | None = None
    error: bytes = b""
    recoverable: bool = False
    reason: str = ""
    deck_uri: str = ""
    dynamic: bool = False
    """`outputs` says where the task's plan lies."""


@dataclass(frozen=True, slots=True)
class Files:
    """What the task left at its output prefix. Absent files are None."""

    prefix: str
    error: bytes | None = None
    error_uri: str = ""
    futures: Data | None = None
    """Where futures.pb, the plan of a dynamic task, lies."""
    outputs: Data | None = None
    outputs_too_large: str = ""
    """Why the outputs cannot be taken, if they cannot."""
    deck_uri: str = ""


def failed(kind: ErrorKind, code: str, message: str, *, recoverable: bool, error_uri: str = "") -> Outcome:
    """A failure as the executor itself words it."""
    error = execution_pb2.ExecutionError(code=code, message=_cut(message), error_uri=error_uri, kind=kind.value)
    return Outcome(
        ReportPhase.FAILED,
        error=error.SerializeToString(),
        recoverable=recoverable,
        reason=_cut(message).partition("\n")[0],
    )


def system(code: str, message: str) -> Outcome:
    """Not the user's fault, and worth another attempt."""
    return failed(ErrorKind.SYSTEM, code, message, recoverable=True)


def of_refusal(error: errors.AirscrewError) -> Outcome:
    """The attempt could not be made ready: whose fault that is, is the error's kind."""
    match error:
        case errors.InvalidArgument():
            return failed(ErrorKind.USER, "FailedToBuildResource", error.message, recoverable=False)
        case errors.FailedPrecondition():
            return system("ExecutorMisconfigured", error.message)
        case _:
            return system("PreparationFailed", error.message)


def aborted(reason: str) -> Outcome:
    """Stopped as the leader wished; no process is left."""
    return Outcome(ReportPhase.ABORTED, reason=reason)


def handed_back(reason: str) -> Outcome:
    """Ended because the executor drains; no process is left."""
    return Outcome(ReportPhase.HANDED_BACK, reason=reason)


def timed_out(time_allowed_us: int) -> Outcome:
    seconds = time_allowed_us / 1_000_000
    message = f"the attempt ran longer than the {seconds:g} s that it is allowed and was stopped"
    return failed(ErrorKind.USER, "TimeoutExpired", message, recoverable=True)


def of_ended_process(ended: Exit, files: Files, outputs_declared: bool, log_tail: str) -> Outcome:
    """Rules 2 to 6. `log_tail` is quoted where the log is the only witness."""
    outcome = _of_ended_process(ended, files, outputs_declared, log_tail)
    return replace(outcome, deck_uri=files.deck_uri)


def _of_ended_process(ended: Exit, files: Files, outputs_declared: bool, log_tail: str) -> Outcome:
    if files.error is not None:
        return _of_error_file(files)
    if ended.out_of_memory:
        message = _witnessed("the task process was killed because it used more memory than it may", log_tail)
        return failed(ErrorKind.USER, "OOMKilled", message, recoverable=True)
    if ended.signal == signal.SIGKILL or ended.code in _CODES_OF_SIGKILL:
        message = _witnessed("the task process was killed by somebody (SIGKILL)", log_tail)
        return system("Interrupted", message)
    if ended.code != 0:
        message = _witnessed(f"the task process {_how(ended)} and wrote no error", log_tail)
        return failed(ErrorKind.USER, "TaskProcessFailed", message, recoverable=True)
    if files.futures is not None:
        return Outcome(ReportPhase.SUCCEEDED, outputs=files.futures, dynamic=True)
    return _of_outputs(files, outputs_declared, log_tail)


def _of_error_file(files: Files) -> Outcome:
    try:
        error = errors_pb2.ErrorDocument.FromString(files.error or b"").error
    except DecodeError as problem:
        return system("ErrorFileBadFormat", f"{files.error_uri} cannot be read: {problem}")
    if not error.code and not error.message:
        return system("ErrorFileBadFormat", f"{files.error_uri} holds no error")
    kind = ErrorKind(error.origin) if error.origin in ErrorKind.__members__.values() else ErrorKind.UNKNOWN
    recoverable = error.kind == errors_pb2.ContainerError.RECOVERABLE
    outcome = failed(kind, error.code, error.message, recoverable=recoverable, error_uri=files.error_uri)
    return replace(outcome, reason=_gist(error.message))


def _of_outputs(files: Files, outputs_declared: bool, log_tail: str) -> Outcome:
    if files.outputs_too_large and outputs_declared:
        return failed(ErrorKind.USER, "OutputSizeExceeded", files.outputs_too_large, recoverable=False)
    if files.outputs is None or not outputs_declared:
        if outputs_declared:
            message = _witnessed(f"the task process ended without writing outputs to {files.prefix}", log_tail)
            return system("OutputsNotFound", message)
        return Outcome(ReportPhase.SUCCEEDED, outputs=EMPTY)
    if files.outputs.inline is not None:
        try:
            literals_pb2.LiteralMap.FromString(files.outputs.inline)
        except DecodeError as problem:
            return system("OutputsBadFormat", f"outputs.pb in {files.prefix} cannot be read: {problem}")
    return Outcome(ReportPhase.SUCCEEDED, outputs=files.outputs)


def _how(ended: Exit) -> str:
    if ended.signal is None:
        return f"exited with code {ended.code}"
    try:
        return f"was ended by {signal.Signals(ended.signal).name}"
    except ValueError:
        return f"was ended by signal {ended.signal}"


def _witnessed(message: str, log_tail: str) -> str:
    return f"{message}\nThe end of its log:\n{log_tail}" if log_tail.strip() else message


def _gist(message: str) -> str:
    """The last line with words in it: of a traceback, the one that says what went wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def _cut(message: str) -> str:
    """Head and tail of a long message: the head says what was done, the tail of a traceback what went wrong."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    half = MESSAGE_LIMIT // 2
    return f"{message[:half]}\n… {len(message) - 2 * half} characters left out …\n{message[-half:]}"
