"""A deck: an HTML page that a task leaves for people, beside its outputs."""

from flytekit import Deck, task, workflow


@task(enable_deck=True, deck_fields=())
def bars(values: list[int]) -> int:
    """Draws the values and returns their maximum."""
    largest = max(values)
    rows = "".join(f'<div style="background:teal;width:{100 * value // largest}%">{value}</div>' for value in values)
    Deck("Bars", rows)
    return largest


@workflow
def report(values: list[int]) -> int:
    return bars(values=values)
