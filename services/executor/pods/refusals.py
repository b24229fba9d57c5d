"""What it means when the API server does not take a pod. Pure.

As FlytePropeller 1.16 has it (`plugin_manager`): lack of quota and of a free server pass, so who wants the pod waits; a
pod that no quota could ever hold, or that is no valid pod, never comes, and neither waiting nor another attempt helps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from libs.workflow import errors, quantities
from libs.workflow.phases import ErrorKind
from services.executor import outcome
from services.executor.outcome import Outcome

_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses of a server that is busy, or not there, or whose etcd is not."""
_TOO_LARGE: Final = re.compile(r"request is too large|[Rr]equest entity too large|must have at most \d+ bytes")
_QUOTA: Final = "exceeded quota"
_PART: Final = re.compile(r"(requested|used|limited): (.*?)(?=, (?:requested|used|limited): |$)")


class Refused(Exception):
    """The API server has answered no. `status` is that of HTTP, `reason` Kubernetes' own word."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{reason or status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Unreachable(Exception):
    """The API server has not answered: whether it has done what it was asked is not known."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It may work later."""

    reason: str


def of_create(error: Refused) -> Wait | Outcome:
    """What a refusal to create a pod means for its attempt."""
    if error.status == 403:
        return _forbidden(error)
    if error.status == 413 or _TOO_LARGE.search(error.message):
        return _permanent("EntityTooLarge", f"the pod is too large for the cluster: {error.message}")
    if error.status in _PASSING or error.reason in ("ServerTimeout", "Conflict"):  # two pods that count on one quota
        return Wait(f"ClusterBusy: {error}")
    if error.status in (400, 422):
        return _permanent("BadTaskFormat", f"the cluster refuses the pod: {error.message}")
    return outcome.system("PodNotCreated", f"the cluster refuses the pod: {error}")


def _forbidden(error: Refused) -> Wait | Outcome:
    if _QUOTA not in error.message:
        return outcome.failed(ErrorKind.USER, "RuntimeFailure", error.message, recoverable=True)
    if _never_fits(error.message):
        return _permanent("ResourceRequestsExceedLimits", error.message)
    return Wait(f"QuotaExceeded: {error.message}")


def _never_fits(message: str) -> bool:
    """Whether the pod alone asks for more of something than the quota has: `exceeded quota: NAME, requested:
    limits.cpu=2, used: limits.cpu=0, limited: limits.cpu=1`.

    (Flyte also gives up on a request that is just as large as the quota. It fits when it is alone: here it waits.)
    """
    parts = {name: _amounts(text) for name, text in _PART.findall(message)}
    limited = parts.get("limited", {})
    return any(amount > limited[name] for name, amount in parts.get("requested", {}).items() if name in limited)


def _amounts(text: str) -> Mapping[str, Decimal]:
    found: dict[str, Decimal] = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        try:
            found[name.strip()] = quantities.parse_quantity(amount, name)
        except errors.InvalidArgument:
            continue
    return found


def _permanent(code: str, message: str) -> Outcome:
    return outcome.failed(ErrorKind.USER, code, message, recoverable=False)
