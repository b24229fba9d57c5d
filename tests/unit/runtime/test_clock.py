from __future__ import annotations

from libs.runtime.clock import SteadyClock

SECOND_US = 1_000_000
HOUR = 3_600.0


class Machine:
    """A machine whose wall clock can be set."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.wrong = 0.0

    def monotonic(self) -> float:
        return self.passed

    def now_us(self) -> int:
        return round((1_000_000 + self.passed + self.wrong) * SECOND_US)


def test_a_clock_that_is_not_set_is_told_as_it_is() -> None:
    machine = Machine()
    steady = SteadyClock(machine)
    for machine.passed in (0.0, 0.5, 7.0, 100.0):
        assert (steady.now_us(), steady.monotonic()) == (machine.now_us(), machine.passed)


def test_a_clock_that_is_set_back_goes_on_at_half_its_speed_until_it_is_right() -> None:
    machine = Machine()
    steady = SteadyClock(machine)
    began_us = steady.now_us()
    machine.wrong = -HOUR
    for machine.passed in (0.0, 10.0, HOUR):
        assert steady.now_us() == began_us + machine.passed / 2 * SECOND_US
    machine.passed = 2 * HOUR
    assert steady.now_us() == machine.now_us()
    machine.passed = 3 * HOUR
    assert steady.now_us() == machine.now_us()


def test_looking_often_does_not_slow_it_down_further() -> None:
    machine = Machine()
    steady = SteadyClock(machine)
    began_us = steady.now_us()
    machine.wrong = -HOUR
    for step in range(100_001):
        machine.passed = step / 1e4
        steady.now_us()
    assert steady.now_us() == began_us + 5 * SECOND_US


def test_a_clock_that_is_set_forward_is_followed_at_once() -> None:
    machine = Machine()
    steady = SteadyClock(machine)
    machine.wrong = HOUR
    assert steady.now_us() == machine.now_us()
