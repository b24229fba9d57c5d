"""Is a failed attempt tried again, and when?

Two budgets, as in Flyte (its reference: FlytePropeller `nodes/executor.go`): failures of the *system* (an executor
lost, the framework broken) have one of their own, so that they never eat what the user asked for. Different from Flyte:
there is a back-off with jitter after system failures, and the kind of an error stays what it was when the budget is
used up; and a task may ask for a back-off after failures of its own.

    whose failure        budget                          pause before the next attempt
    the user's           `retries` of node, else task    none, or as `airscrew/retry.backoff` says, doubled each time
    of unknown kind      the user's                      the same
    the system's         three                           1 s, doubled each time, at most 60 s
    a rejection          none                            200 ms, doubled each time in a row, at most 5 s
    an executor drains   none                            none
    not recoverable      -                               never tried again

An hour is the most that a pause of the user's grows to. Every pause but that of a rejection is a fifth longer or
shorter at random, so that what failed together does not come back together. Jitter without dice: it is drawn from a
hash of the attempt's identity, so that the same history gives the same times.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from libs.workflow.identity import AttemptId
from libs.workflow.phases import ErrorKind

SYSTEM_BACKOFF_BASE_US = 1_000_000
SYSTEM_BACKOFF_CAP_US = 60_000_000
USER_BACKOFF_CAP_US = 3600 * 1_000_000
REJECTION_BACKOFF_BASE_US = 200_000
REJECTION_BACKOFF_CAP_US = 5_000_000
"""A rejected attempt is placed anew after so long: the executor's next heart-beat tells why it had no room."""
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What a node may spend: `max_attempts` counts attempts that ended by the user's fault, `system_retries` the
    others.
    """

    max_attempts: int = 1
    system_retries: int = 3
    backoff_us: int = 0
    """Before the second attempt after a failure of the user's; 0: every attempt follows at once."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`delay_us` is None when the node has failed for good."""

    delay_us: int | None
    exhausted: bool = False

    @property
    def again(self) -> bool:
        return self.delay_us is not None


def judge(
    policy: RetryPolicy,
    kind: ErrorKind,
    recoverable: bool,
    user_failures: int,
    system_failures: int,
    attempt: AttemptId,
) -> Verdict:
    """Decides after a failure; the counts are those *before* it. An error of unknown kind counts as the user's."""
    if not recoverable:
        return Verdict(None)
    if kind is ErrorKind.SYSTEM:
        if system_failures >= policy.system_retries:
            return Verdict(None, exhausted=True)
        return Verdict(system_backoff_us(system_failures, attempt))
    if user_failures + 1 >= policy.max_attempts:
        return Verdict(None, exhausted=policy.max_attempts > 1)
    return Verdict(user_backoff_us(policy.backoff_us, user_failures, attempt))


def system_backoff_us(failures: int, attempt: AttemptId) -> int:
    """1 s doubled with each earlier system failure, at most 60 s, plus or minus 20 %."""
    return _jittered(min(SYSTEM_BACKOFF_BASE_US << min(failures, 16), SYSTEM_BACKOFF_CAP_US), attempt)


def user_backoff_us(base_us: int, failures: int, attempt: AttemptId) -> int:
    """What the task asks for, doubled with each earlier failure of the user's, at most an hour, plus or minus 20 %."""
    return _jittered(min(base_us << min(failures, 32), USER_BACKOFF_CAP_US), attempt)


def rejection_backoff_us(rejections: int) -> int:
    """200 ms doubled with each earlier rejection in a row, at most 5 s."""
    return min(REJECTION_BACKOFF_BASE_US << min(rejections, 16), REJECTION_BACKOFF_CAP_US)


def _jittered(delay_us: int, attempt: AttemptId) -> int:
    seed = f"{attempt.execution}/{attempt.node}/{attempt.attempt}".encode()
    draw = int.from_bytes(hashlib.blake2b(seed, digest_size=4).digest(), "big") / 0xFFFFFFFF
    return int(delay_us * (1 + JITTER * (2 * draw - 1)))
