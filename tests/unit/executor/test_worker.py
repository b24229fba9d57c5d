"""What a process that is kept for many tasks puts back between two of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from services.executor.bootstrap import surroundings


@pytest.fixture
def environment() -> Iterator[surroundings.Surroundings]:
    """Of a process that was started with one variable; whatever a test does to it is undone."""
    before = dict(os.environ)
    made = surroundings.Surroundings()
    made.change({**before, "A": "1", "B": "2"})
    yield made
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def test_a_task_finds_what_has_changed_since_the_last_one(environment: surroundings.Surroundings) -> None:
    environment.change({"A": "3", "B": None, "C": "4"})
    assert (os.environ["A"], os.environ.get("B"), os.environ["C"]) == ("3", None, "4")


def test_what_a_task_has_done_to_its_variables_is_undone(environment: surroundings.Surroundings) -> None:
    os.environ["A"] = "mine"
    os.environ["LEFT"] = "behind"
    del os.environ["B"]
    environment.change({"C": "4"})
    assert (os.environ["A"], os.environ["B"], os.environ["C"]) == ("1", "2", "4")
    assert "LEFT" not in os.environ


def test_a_process_for_one_task_is_told_what_is_not_as_it_is_already(environment: surroundings.Surroundings) -> None:
    here = surroundings.Surroundings.here()
    here.add({"A": "3", "B": None})
    assert (os.environ["A"], "B" in os.environ, here.wanted["A"], "B" in here.wanted) == ("3", False, "3", False)


def test_what_an_import_has_set_is_found_by_every_task(environment: surroundings.Surroundings) -> None:
    os.environ["IMPORTED"] = os.environ["A"] = "when imported"
    del os.environ["B"]
    kept = surroundings.Surroundings.here()
    for changes in ({"C": "3"}, {"C": "4"}):
        kept.change({**changes})
        found = tuple(os.environ.get(name) for name in ("IMPORTED", "A", "B", "C"))
        assert found == ("when imported", "when imported", None, changes["C"])
        os.environ.update(IMPORTED="changed by a task", A="and this", B="and this")
