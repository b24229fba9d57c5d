"""What went wrong with files, as error.pb says it: Flyte's codes, and whose fault it is."""

from __future__ import annotations

from typing import Final

from flyteidl.core import errors_pb2
from google.protobuf.message import DecodeError

from libs.workflow import errors
from libs.workflow.phases import ErrorKind

DOWNLOAD: Final = "InputDownloadFailed"
UPLOAD: Final = "OutputUploadFailed"
TASK: Final = "TaskError"
"""The task itself has left word of its failure."""


class Failure(Exception):
    """Ends the co-pilot's work."""

    def __init__(
        self, message: str, kind: ErrorKind = ErrorKind.USER, *, recoverable: bool = True, code: str = ""
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.recoverable = recoverable
        self.code = code
        """Empty: that of what was under way."""


def of(error: BaseException, code: str) -> Failure:
    """Whose fault an exception is, by what was under way."""
    match error:
        case Failure():
            return error
        case errors.NotFound() | errors.InvalidArgument() | errors.ResourceExhausted() if code == DOWNLOAD:
            return Failure(str(error), recoverable=False)  # an input names what is not there, or too much
        case errors.AirscrewError():
            return Failure(error.message, ErrorKind.SYSTEM)
        case TimeoutError():
            return Failure("the time allowed for it was over", ErrorKind.SYSTEM)
        case _:
            return Failure(f"{type(error).__name__}: {error}", ErrorKind.SYSTEM)


def document(failure: Failure, code: str) -> bytes:
    """error.pb."""
    kind = errors_pb2.ContainerError.RECOVERABLE if failure.recoverable else errors_pb2.ContainerError.NON_RECOVERABLE
    error = errors_pb2.ContainerError(
        code=failure.code or code, message=str(failure), kind=kind, origin=failure.kind.value
    )
    written: bytes = errors_pb2.ErrorDocument(error=error).SerializeToString()
    return written


def is_of_outputs(error: bytes) -> bool:
    """Whether an error.pb is the co-pilot's word on outputs that are missing or wrong: no news of a failed task."""
    try:
        return bool(errors_pb2.ErrorDocument.FromString(error).error.code == UPLOAD)
    except DecodeError:
        return False
