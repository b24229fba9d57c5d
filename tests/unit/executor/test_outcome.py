"""Verdicts over ended processes, as a table; each line is a rule of the module."""

from __future__ import annotations

import pytest
from flyteidl.core import errors_pb2, execution_pb2

from libs.wire.session import ReportPhase
from libs.workflow.state import Data
from services.executor import outcome
from services.executor.outcome import Files
from services.executor.runner import Exit

OUTPUTS = Data.of(b"")
FUTURES = Data.at("/p/futures.pb", 7)
ERROR = errors_pb2.ContainerError
USER_ERROR = errors_pb2.ErrorDocument(
    error=ERROR(
        code="USER:Bad", message="Trace:\n\n  x\n\nMessage:\n\n  ValueError: no", kind=ERROR.NON_RECOVERABLE, origin=1
    )
).SerializeToString()
SYSTEM_ERROR = errors_pb2.ErrorDocument(
    error=ERROR(code="SYSTEM", message="m", kind=ERROR.RECOVERABLE, origin=2)
).SerializeToString()

OK = Exit(code=0)


def verdict(ended: Exit, declared: bool = True, **files: object) -> tuple[str, str, bool]:
    """Code (or SUCCEEDED, DYNAMIC), kind, recoverable."""
    end = outcome.of_ended_process(ended, Files("/p", error_uri="/p/error.pb", **files), declared, "tail")  # type: ignore[arg-type]
    if end.phase is ReportPhase.SUCCEEDED:
        assert (end.outputs == FUTURES) == end.dynamic
        return ("DYNAMIC" if end.dynamic else "SUCCEEDED"), "", False
    error = execution_pb2.ExecutionError.FromString(end.error)
    assert end.reason and len(end.reason) <= outcome.MESSAGE_LIMIT
    return error.code, execution_pb2.ExecutionError.ErrorKind.Name(error.kind), end.recoverable


@pytest.mark.parametrize(
    ("ended", "files", "expected"),
    [
        (OK, {"outputs": OUTPUTS}, ("SUCCEEDED", "", False)),
        (OK, {"futures": FUTURES}, ("DYNAMIC", "", False)),
        (OK, {"futures": FUTURES, "outputs": OUTPUTS}, ("DYNAMIC", "", False)),
        (OK, {"error": USER_ERROR, "outputs": OUTPUTS}, ("USER:Bad", "USER", False)),
        (OK, {"error": USER_ERROR, "futures": FUTURES}, ("USER:Bad", "USER", False)),
        (OK, {"error": SYSTEM_ERROR}, ("SYSTEM", "SYSTEM", True)),
        (OK, {"error": b""}, ("ErrorFileBadFormat", "SYSTEM", True)),
        (OK, {"error": b"\xff"}, ("ErrorFileBadFormat", "SYSTEM", True)),
        (OK, {}, ("OutputsNotFound", "SYSTEM", True)),
        (OK, {"outputs": Data.of(b"\xff")}, ("OutputsBadFormat", "SYSTEM", True)),
        (OK, {"outputs": Data.at("/p/outputs.pb", 1 << 20)}, ("SUCCEEDED", "", False)),
        (OK, {"outputs_too_large": "too large"}, ("OutputSizeExceeded", "USER", False)),
        (Exit(code=1), {"error": USER_ERROR}, ("USER:Bad", "USER", False)),
        (Exit(code=1), {"outputs": OUTPUTS}, ("TaskProcessFailed", "USER", True)),
        (Exit(signal=11), {}, ("TaskProcessFailed", "USER", True)),
        (Exit(signal=9), {}, ("Interrupted", "SYSTEM", True)),
        (Exit(code=137), {}, ("Interrupted", "SYSTEM", True)),
        (Exit(code=247), {}, ("Interrupted", "SYSTEM", True)),
        (Exit(signal=9), {"error": USER_ERROR}, ("USER:Bad", "USER", False)),
        (Exit(signal=9, out_of_memory=True), {}, ("OOMKilled", "USER", True)),
    ],
)
def test_verdicts(ended: Exit, files: dict[str, object], expected: tuple[str, str, bool]) -> None:
    assert verdict(ended, **files) == expected


def test_a_task_without_declared_outputs_needs_none() -> None:
    assert verdict(OK, declared=False) == ("SUCCEEDED", "", False)
    assert verdict(OK, declared=False, outputs_too_large="too large") == ("SUCCEEDED", "", False)


def test_the_reason_is_the_last_line_of_a_traceback() -> None:
    assert outcome.of_ended_process(OK, Files("/p", error=USER_ERROR), True, "").reason == "ValueError: no"


def test_the_deck_of_a_failed_task_is_shown_too() -> None:
    assert outcome.of_ended_process(OK, Files("/p", error=USER_ERROR, deck_uri="/p/deck.html"), True, "").deck_uri


def test_a_long_message_keeps_its_head_and_its_tail() -> None:
    end = outcome.system("Code", "head" + "x" * 100_000 + "tail")
    message = execution_pb2.ExecutionError.FromString(end.error).message
    assert message.startswith("head") and message.endswith("tail") and len(message) < outcome.MESSAGE_LIMIT + 100
