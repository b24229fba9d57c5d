"""Until when leadership may be assumed."""

from __future__ import annotations

from libs.election.tenure import OVER, Tenure


class ManualClock:
    """Time moves when told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_us(self) -> int:
        return int(self.seconds * 1e6)

    def monotonic(self) -> float:
        return self.seconds


def test_a_tenure_lasts_until_its_deadline() -> None:
    clock = ManualClock()
    tenure = Tenure(1, 104.0, clock)
    clock.seconds = 103.9
    assert not tenure.end_if_due() and tenure.deadline() == 104.0
    clock.seconds = 104.0
    assert tenure.end_if_due() and tenure.deadline() == OVER and tenure.ended


def test_an_extension_in_time_moves_the_deadline_and_never_backwards() -> None:
    clock = ManualClock()
    tenure = Tenure(1, 104.0, clock)
    assert tenure.extend(106.0) and tenure.deadline() == 106.0
    assert tenure.extend(105.0) and tenure.deadline() == 106.0


def test_an_extension_that_comes_too_late_ends_it_for_good() -> None:
    # The acknowledgement arrives while the loop already tells everybody that leadership is over.
    clock = ManualClock()
    tenure = Tenure(1, 104.0, clock)
    clock.seconds = 104.5
    assert not tenure.extend(109.0)
    assert tenure.ended and tenure.deadline() == OVER


def test_what_was_ended_cannot_be_extended() -> None:
    tenure = Tenure(1, 104.0, ManualClock())
    tenure.end()
    assert not tenure.extend(109.0) and tenure.deadline() == OVER
