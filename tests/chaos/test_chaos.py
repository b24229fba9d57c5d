"""The short form of `make chaos`: the faults that a leader, an executor and the stores must survive, once each."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos import faults, play
from tests.chaos.setting import setting

SEED = 1968
SHORT = ("stop leader past its lease", "kill executor", "kill leader", "crash PostgreSQL", "cut leader–executor")


@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_runs_twice_whatever_is_killed_stopped_or_cut_off(tmp_path: Path) -> None:
    drawn = [fault for fault in faults.ALL if fault.name in SHORT]
    assert len(drawn) == len(SHORT)
    with setting(tmp_path) as stage:
        verdict = play.play(stage, tmp_path, drawn, random.Random(SEED), 20, print)
    print(play.shown(verdict))
    assert verdict.broken == []
    assert verdict.epochs >= 3, "two faults end a leadership"
