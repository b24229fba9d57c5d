"""`make chaos`: faults on the real system, as many as one has time for."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import faults, play
from tests.chaos.setting import setting


def main() -> int:
    """Plays one run and prints its figures; 1 when something was broken, and then logs and rows stay."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--workflows", type=int, default=500, help="how many at least")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--only", default="", help="faults whose names contain this")
    parser.add_argument("--shards", type=int, default=1, help="how many; faults are about the leader of the first")
    given = parser.parse_args()
    known = tuple(fault for fault in faults.ALL if given.only in fault.name)
    if not known:
        parser.error(f"no fault is called like {given.only!r}: {', '.join(fault.name for fault in faults.ALL)}")
    dice = random.Random(given.seed)
    print(f"seed {given.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="airscrew-chaos-"))
    with setting(folder, given.shards) as stage:
        drawn = faults.schedule(given.faults, dice, known)
        verdict = play.play(stage, folder, drawn, dice, given.workflows, lambda told: print(told, flush=True))
    print(play.shown(verdict))
    if verdict.broken or verdict.slow:
        print(f"logs: {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
