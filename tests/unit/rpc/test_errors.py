"""One table between errors and statuses, both ways; UNKNOWN never leaves."""

from __future__ import annotations

import urllib.parse

import grpc
import grpc.aio
import pytest
from google.protobuf.message import DecodeError

from libs.rpc import errors as statuses
from libs.workflow import errors


def rpc_error(status: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def test_every_error_of_ours_has_a_status() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {kind for kind, _ in statuses.TABLE} == {kind for kind in kinds if kind.__base__ is errors.AirscrewError}


def test_a_more_special_error_has_the_status_of_what_it_is_a_kind_of() -> None:
    assert statuses.status_of(errors.KeyTaken("7")) == statuses.status_of(errors.Refused("7"))


@pytest.mark.parametrize(("error", "status"), statuses.TABLE)
def test_an_error_survives_the_round_trip(error: type[errors.AirscrewError], status: grpc.StatusCode) -> None:
    assert statuses.status_of(error("field x: because")) == (status, "field x: because")
    back = statuses.from_rpc(rpc_error(status, "field x: because"))
    assert (type(back), back.message) == (error, "field x: because")


@pytest.mark.parametrize("status", list(grpc.StatusCode))
def test_every_status_stands_for_an_error(status: grpc.StatusCode) -> None:
    assert statuses.from_rpc(rpc_error(status, "")).message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), grpc.StatusCode.INTERNAL),
        (TimeoutError(), grpc.StatusCode.DEADLINE_EXCEEDED),
        (DecodeError("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (NotImplementedError("x"), grpc.StatusCode.UNIMPLEMENTED),
        (rpc_error(grpc.StatusCode.UNKNOWN, "x"), grpc.StatusCode.INTERNAL),
        (rpc_error(grpc.StatusCode.UNAVAILABLE, "x"), grpc.StatusCode.UNAVAILABLE),
        (ExceptionGroup("g", [ValueError("x"), ExceptionGroup("h", [errors.Fenced()])]), grpc.StatusCode.ABORTED),
        (ExceptionGroup("g", [ValueError("x")]), grpc.StatusCode.INTERNAL),
    ],
)
def test_what_is_not_ours_leaves_as_something_known(error: Exception, status: grpc.StatusCode) -> None:
    assert statuses.status_of(error)[0] is status


@pytest.mark.parametrize("letter", ["x", "ä", "%", "𝄞", "\n"])
def test_a_message_is_cut_to_what_a_header_may_hold(letter: str) -> None:
    _, message = statuses.status_of(errors.InvalidArgument("why: " + letter * 100_000))
    assert message.startswith("why: " + letter)
    assert len(urllib.parse.quote(message, safe=" :")) <= statuses.MAX_MESSAGE_BYTES + len(" %E2%80%A6")


def test_a_more_special_error_leaves_as_what_it_is_a_kind_of() -> None:
    class Compacted(errors.FailedPrecondition):
        """The revision is gone."""

    assert statuses.status_of(Compacted()) == (grpc.StatusCode.FAILED_PRECONDITION, "The revision is gone.")


def refused(*trailers: tuple[str, str]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), "too many wait"
    )


def test_when_to_ask_again_survives_the_round_trip_and_is_never_early() -> None:
    trailers = statuses.trailers_of(errors.ResourceExhausted("too many wait", retry_after_us=1_500_001))
    assert trailers == (("retry-after-ms", "1501"),)
    back = statuses.from_rpc(refused(*trailers))
    assert isinstance(back, errors.ResourceExhausted) and back.retry_after_us == 1_501_000
    assert statuses.trailers_of(refused(*trailers)) == trailers, "whoever passes it on keeps the hint"


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "²"])
def test_a_hint_that_is_none_is_no_hint(text: str) -> None:
    back = statuses.from_rpc(refused(("retry-after-ms", text)))
    assert isinstance(back, errors.ResourceExhausted) and back.retry_after_us is None


def test_a_limit_that_does_not_pass_by_itself_leaves_without_a_hint() -> None:
    assert statuses.trailers_of(errors.ResourceExhausted("the disk is full")) == ()
    assert statuses.trailers_of(errors.Unavailable("gone")) == ()
