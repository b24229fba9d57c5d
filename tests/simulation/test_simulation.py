"""No seed breaks a promise, each built-in mistake does, and a seed is the same run everywhere.

Each runs in a process of its own, in which hashes of strings are fixed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = 2000
"""How many are played; `make simulate SEEDS=…` plays more."""
JOBS = 2
"""On how many cores: about 35 s where two have nothing else to do."""


def run(*arguments: str, hash_seed: str = "random") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
def test_nothing_that_goes_wrong_breaks_a_promise() -> None:
    played = run("--seeds", str(SEEDS), "--jobs", str(JOBS))
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"{SEEDS} seeds from 0 in " in played.stdout
    print(played.stdout)


def test_a_seed_is_the_same_run_everywhere() -> None:
    first, second = (run("--seed", "16", hash_seed=hash_seed) for hash_seed in ("1", "2"))
    assert first.returncode == 0, first.stdout + first.stderr
    assert len(first.stdout.splitlines()) > 20
    assert first.stdout == second.stdout


@pytest.mark.timeout(300)
def test_each_mistake_is_found_within_two_thousand_seeds() -> None:
    hunted = run("--mutations", "--seeds", str(SEEDS))
    assert hunted.returncode == 0, hunted.stdout + hunted.stderr
    assert hunted.stdout.count(": found by seed ") == 7
    print(hunted.stdout)
