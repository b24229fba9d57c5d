"""The line: first come first served, withdrawals, bars."""

from __future__ import annotations

from libs.workerpool.line import Line, Work


async def nothing() -> None: ...


def works(line: Line, number: int) -> list[Work]:
    """Puts so many jobs in line."""
    made = [Work(nothing, (place,), None) for place in range(number)]
    for work in made:
        line.put(work)
    return made


def test_jobs_are_taken_in_the_order_in_which_they_were_put() -> None:
    line = Line()
    made = works(line, 3)
    assert [line.take() for _ in range(4)] == [*made, None]


def test_a_bar_holds_those_behind_it_only() -> None:
    line = Line()
    before = works(line, 1)
    bar = line.lower()
    behind = works(line, 1)
    assert line.barred and not line.is_first(bar)
    assert line.take() is before[0] and line.take() is None and line.is_first(bar) and len(line) == 1
    line.lift(bar)
    assert not line.barred and line.take() is behind[0]


def test_who_is_withdrawn_is_not_counted_and_not_taken() -> None:
    line = Line()
    made = works(line, 500)
    for work in made[::2] + made[1:400:2]:
        line.withdraw(work)
    assert len(line) == 50
    assert [line.take() for _ in range(51)] == [*made[401::2], None]


def test_a_bar_behind_withdrawn_jobs_only_is_first() -> None:
    line = Line()
    made = works(line, 2)
    bar = line.lower()
    line.withdraw(made[1])
    line.withdraw(made[0])
    assert line.is_first(bar) and line.take() is None and len(line) == 0


def test_clearing_leaves_the_bars() -> None:
    line = Line()
    made = works(line, 3)
    bar = line.lower()
    line.withdraw(made[1])
    assert line.clear() == [made[0], made[2]] and len(line) == 0
    works(line, 1)
    assert line.take() is None
    line.lift(bar)
    assert line.take() is not None
