"""The machine's behaviour as transcripts: read `scenarios/*.txt`, and review what changes in them as a diff.

`REWRITE_SCENARIOS=1` writes down what the machine does now.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.transcripts import Interpreter, blocks, rewritten

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(rewritten(path.read_text()))
    interpreter = Interpreter()
    for block in blocks(path.read_text()):
        assert interpreter.play(block.text) == block.expected, f"{path.name}: {block.text}"


def test_there_are_scenarios_and_each_says_what_it_is_about() -> None:
    assert len(SCENARIOS) > 20
    for path in SCENARIOS:
        first = path.read_text().splitlines()[0]
        assert first.startswith("# "), f"{path.name} begins without a sentence about itself"
