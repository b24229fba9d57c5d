"""Errors and gRPC statuses, both ways, by one table.

A handler raises an error of `libs.workflow.errors`; `libs.rpc.server` turns it into a status; a client turns the status
back with `from_rpc`, or `of_rpc` around calls. What crosses the wire is the status, the message and, of a limit that
will pass, how long to wait: milliseconds, rounded up, in the trailing metadata `retry-after-ms`. Nothing else.

UNKNOWN never leaves: flytekit answers it by opening a browser to log in. What is not in the table is a bug of ours and
leaves as INTERNAL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from libs.workflow import errors

# A status message travels in a header. flytekit takes 32 KB of headers and turns more into an error about headers;
# non-ASCII bytes triple on their way, because headers are percent-encoded.
MAX_MESSAGE_BYTES: Final = 28_000

RETRY_AFTER: Final = "retry-after-ms"
"""Key of the trailing metadata that says after how many milliseconds asking again makes sense."""

# In both directions; Fenced and Refused never travel to users, only between our services.
TABLE: Final[tuple[tuple[type[errors.AirscrewError], grpc.StatusCode], ...]] = (
    (errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Unimplemented, grpc.StatusCode.UNIMPLEMENTED),
    (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Internal, grpc.StatusCode.INTERNAL),
    (errors.Fenced, grpc.StatusCode.ABORTED),
    (errors.Refused, grpc.StatusCode.DATA_LOSS),
)

_STATUS: Final = dict(TABLE)
_ERROR: Final = {status: error for error, status in TABLE} | {
    # A server that stops, or a peer that hangs up, cancels what runs: the same request may succeed later.
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
}


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The status and message with which `error` leaves this process; INTERNAL for what is not in the table.

    Of a group, the first error that is in the table speaks for all.
    """
    known = _known(error)
    if known is None:
        return grpc.StatusCode.INTERNAL, _cut(f"internal error: {type(error).__name__}: {error}")
    # A more special error leaves as what it is a kind of.
    return next(_STATUS[kind] for kind in type(known).__mro__ if kind in _STATUS), _cut(known.message)


def trailers_of(error: BaseException) -> tuple[tuple[str, str], ...]:
    """The trailing metadata with which `error` leaves this process."""
    known = _known(error)
    if not isinstance(known, errors.ResourceExhausted) or known.retry_after_us is None:
        return ()
    return ((RETRY_AFTER, str(-(-known.retry_after_us // 1000))),)


def is_known(error: BaseException) -> bool:
    """Whether `error` has a place in the table: what has none is a bug and worth a traceback."""
    return _known(error) is not None


def from_rpc(error: grpc.aio.AioRpcError) -> errors.AirscrewError:
    """The error that a failed call stands for, to be raised in its place (`raise … from error`)."""
    kind = _ERROR.get(error.code(), errors.Internal)
    message = error.details() or error.code().name
    if kind is errors.ResourceExhausted:
        return errors.ResourceExhausted(message, retry_after_us=_retry_after_us(error))
    return kind(message)


@contextmanager
def of_rpc() -> Iterator[None]:
    """Around calls of another service: what they raise becomes the error that it stands for."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error


def _retry_after_us(error: grpc.aio.AioRpcError) -> int | None:
    """The hint of whoever refused; None without one, or with one that is none."""
    for key, value in error.trailing_metadata() or ():
        if key == RETRY_AFTER and isinstance(value, str) and value.isascii() and value.isdecimal():
            return int(value) * 1000
    return None


def _known(error: BaseException) -> errors.AirscrewError | None:
    if isinstance(error, errors.AirscrewError):
        return error if isinstance(error, tuple(_STATUS)) else None
    if isinstance(error, grpc.aio.AioRpcError):
        return from_rpc(error)
    if isinstance(error, TimeoutError):
        return errors.DeadlineExceeded(str(error))
    if isinstance(error, DecodeError):
        return errors.InvalidArgument(f"the message is malformed: {error}")
    if isinstance(error, NotImplementedError):
        return errors.Unimplemented(str(error))
    if isinstance(error, BaseExceptionGroup):
        return next((known for each in error.exceptions if (known := _known(each)) is not None), None)
    return None


def _cut(message: str) -> str:
    """`message`, shortened so that it takes at most MAX_MESSAGE_BYTES in a header."""
    room = MAX_MESSAGE_BYTES
    for position, character in enumerate(message):
        room -= 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if room < 0:
            return message[:position] + " …"
    return message
