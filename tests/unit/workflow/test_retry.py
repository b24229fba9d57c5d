"""Retry verdicts, literally: which budget pays, when it is used up, and how long the next attempt waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow.identity import AttemptId
from libs.workflow.phases import ErrorKind
from libs.workflow.retry import RetryPolicy, Verdict, judge, system_backoff_us, user_backoff_us

USER, SYSTEM, UNKNOWN = ErrorKind.USER, ErrorKind.SYSTEM, ErrorKind.UNKNOWN
ATTEMPT = AttemptId(1, "n0", 0)
ONCE, THREE = RetryPolicy(), RetryPolicy(max_attempts=3)
FINAL, USED_UP, AT_ONCE = Verdict(None), Verdict(None, exhausted=True), Verdict(0)

VERDICTS = {
    "a task without retries fails at once, and no budget is blamed": (ONCE, USER, True, 0, 0, FINAL),
    "a first failure of three attempts": (THREE, USER, True, 0, 0, AT_ONCE),
    "a second failure of three attempts": (THREE, USER, True, 1, 0, AT_ONCE),
    "the third failure of three attempts": (THREE, USER, True, 2, 0, USED_UP),
    "an error of unknown kind counts as the user's": (THREE, UNKNOWN, True, 2, 0, USED_UP),
    "system failures never eat the user's budget": (THREE, USER, True, 0, 3, AT_ONCE),
    "the system's budget is used up": (THREE, SYSTEM, True, 0, 3, USED_UP),
    "the system's budget exists without retries of the user": (RetryPolicy(1, 0), SYSTEM, True, 0, 0, USED_UP),
    "what cannot be repaired is never tried again": (THREE, USER, False, 0, 0, FINAL),
    "… whoever is to blame": (THREE, SYSTEM, False, 0, 0, FINAL),
}


@pytest.mark.parametrize(
    ("policy", "kind", "recoverable", "user", "system", "verdict"), VERDICTS.values(), ids=VERDICTS
)
def test_verdict(
    policy: RetryPolicy, kind: ErrorKind, recoverable: bool, user: int, system: int, verdict: Verdict
) -> None:
    assert judge(policy, kind, recoverable, user, system, ATTEMPT) == verdict
    assert verdict.again == (verdict.delay_us is not None)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_system_failure_within_budget_is_tried_again_after_a_pause(failures: int) -> None:
    verdict = judge(ONCE, SYSTEM, True, 0, failures, ATTEMPT)
    assert verdict == Verdict(system_backoff_us(failures, ATTEMPT))


@given(
    failures=st.integers(0, 1000),
    attempt=st.builds(AttemptId, st.integers(1, 2**63 - 1), st.text(max_size=20), st.integers(0, 100)),
)
def test_the_pause_doubles_up_to_a_minute_within_a_fifth_either_way(failures: int, attempt: AttemptId) -> None:
    middle = min(1_000_000 * 2 ** min(failures, 16), 60_000_000)
    pause = system_backoff_us(failures, attempt)
    assert 0.8 * middle - 1 <= pause <= 1.2 * middle
    assert pause == system_backoff_us(failures, attempt), "the same history gives the same times"


@pytest.mark.parametrize(
    ("base_us", "failures", "middle_us"),
    [(5_000_000, 0, 5_000_000), (5_000_000, 3, 40_000_000), (5_000_000, 20, 3_600_000_000), (1, 1000, 3_600_000_000)],
)
def test_a_pause_that_a_task_asks_for_doubles_up_to_an_hour_within_a_fifth_either_way(
    base_us: int, failures: int, middle_us: int
) -> None:
    policy = RetryPolicy(max_attempts=failures + 2, backoff_us=base_us)
    verdict = judge(policy, USER, True, failures, 0, ATTEMPT)
    assert verdict.delay_us is not None
    assert 0.8 * middle_us - 1 <= verdict.delay_us <= 1.2 * middle_us
    assert verdict.delay_us == user_backoff_us(base_us, failures, ATTEMPT)


def test_a_pause_that_a_task_asks_for_is_not_for_failures_of_the_system() -> None:
    patient = RetryPolicy(max_attempts=3, backoff_us=50_000_000)
    assert judge(patient, SYSTEM, True, 0, 0, ATTEMPT) == Verdict(system_backoff_us(0, ATTEMPT))


def test_attempts_that_fail_together_do_not_come_back_together() -> None:
    pauses = {system_backoff_us(0, AttemptId(1, f"n{number}", 0)) for number in range(100)}
    assert len(pauses) > 95
    assert max(pauses) - min(pauses) > 300_000
