"""What it means when the API server does not take a pod."""

from __future__ import annotations

import pytest
from flyteidl.core import execution_pb2

from services.executor.outcome import Outcome
from services.executor.pods import refusals
from services.executor.pods.refusals import Refused, Wait

USER, SYSTEM = execution_pb2.ExecutionError.USER, execution_pb2.ExecutionError.SYSTEM
QUOTA = (
    'pods "p" is forbidden: exceeded quota: small, requested: limits.cpu={},pods=1, used: limits.cpu=2,pods=3,'
    " limited: limits.cpu=2500m,pods=9"
)


@pytest.mark.parametrize(
    "refused",
    [
        Refused(403, "Forbidden", QUOTA.format("1")),
        Refused(403, "Forbidden", QUOTA.format("2500m")),  # fits when it is alone
        Refused(429, "TooManyRequests", "slow down"),
        Refused(429, "", "Too many requests, please try again later."),
        Refused(504, "Timeout", "the server was unable to return a response"),
        Refused(500, "InternalError", "etcdserver: request timed out"),
        Refused(503, "ServiceUnavailable", "apiserver is shutting down"),
        Refused(409, "Conflict", "Operation cannot be fulfilled on resourcequotas"),
    ],
)
def test_what_passes_is_waited_for(refused: Refused) -> None:
    assert isinstance(refusals.of_create(refused), Wait)


@pytest.mark.parametrize(
    ("refused", "code", "kind", "recoverable"),
    [
        (Refused(403, "Forbidden", QUOTA.format("3")), "ResourceRequestsExceedLimits", USER, False),
        (Refused(403, "Forbidden", "violates PodSecurity"), "RuntimeFailure", USER, True),
        (Refused(422, "Invalid", "spec.containers[0].image: Required"), "BadTaskFormat", USER, False),
        (Refused(400, "BadRequest", "cannot unmarshal"), "BadTaskFormat", USER, False),
        (Refused(413, "RequestEntityTooLarge", "limit is 3145728"), "EntityTooLarge", USER, False),
        (
            Refused(422, "Invalid", "metadata.annotations: Too long: must have at most 262144 bytes"),
            "EntityTooLarge",
            USER,
            False,
        ),
        (Refused(500, "", "etcdserver: request is too large"), "EntityTooLarge", USER, False),
        (Refused(404, "NotFound", 'namespaces "x" not found'), "PodNotCreated", SYSTEM, True),
        (Refused(401, "Unauthorized", "Unauthorized"), "PodNotCreated", SYSTEM, True),
    ],
)
def test_what_does_not_pass_ends_the_attempt(refused: Refused, code: str, kind: int, recoverable: bool) -> None:
    end = refusals.of_create(refused)
    assert isinstance(end, Outcome)
    error = execution_pb2.ExecutionError.FromString(end.error)
    assert (error.code, error.kind, end.recoverable) == (code, kind, recoverable)
    assert refused.message in error.message
