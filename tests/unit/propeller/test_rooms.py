"""What gets a slot at once may make room for more, which gets its slots in the same turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.workflow.machine import arrays, items
from tests.support.flytetypes import INTEGER, listed
from tests.support.kinds import array
from tests.support.templates import constant, list_of, node, workflow
from tests.support.terms import leading

COUNT = 12
MAPPING = workflow(
    array("n0", node("item", "add"), sliced=True, x=list_of(*map(constant, range(COUNT)))),
    name="mapping",
    inputs={"x": INTEGER},
    outputs={"o": listed(INTEGER)},
    returns={"o": "n0.o"},
)


async def test_a_list_longer_than_its_window_fills_an_executor_that_has_room_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (arrays, items):
        monkeypatch.setattr(module, "WINDOW", 5)
    async with leading(tmp_path) as it:
        executor = it.connect("e1")
        it.launch(MAPPING, key=1, x=0)
        for index in range(COUNT):
            await executor.assigned_of(1, f"n0-0-n{index}")
