"""What can go wrong, each a name and what it does; all of it is repaired when the fault returns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.members import MEMBERS
from tests.chaos.stage import EXECUTORS, LEASE_TTL_SECONDS, POSTGRES, PROPELLERS, Stage
from tests.chaos.wires import Cut

SUCCESSION_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, and to whom by its role."""

    name: str
    do: Callable[[Scene], None]
    ends_leadership: bool = False
    """The leader cannot go on: what counts is when another one commits."""


@dataclass(slots=True)
class Scene:
    """What a fault works on, and what it says about itself."""

    stage: Stage
    dice: random.Random
    leader: str
    epoch: int
    struck_us: int = 0
    """When it happened; set by the fault the moment before."""
    told: list[str] = field(default_factory=list)

    def strike(self, told: str) -> None:
        self.told.append(told)
        self.struck_us = now_us()

    def pause(self, low: float, high: float) -> None:
        time.sleep(self.dice.uniform(low, high))

    def standby(self) -> str:
        return self.dice.choice([name for name in PROPELLERS if name != self.leader])

    def succeeded(self) -> bool:
        """Waits until somebody else has committed in a later epoch; False when nobody does."""
        deadline = time.monotonic() + SUCCESSION_SECONDS
        while time.monotonic() < deadline:
            if self.stage.history.first_commit(self.struck_us, self.epoch) is not None:
                return True
            time.sleep(0.02)
        return False


def now_us() -> int:
    return time.time_ns() // 1000


def _kill(whom: Callable[[Scene], str]) -> Callable[[Scene], None]:
    def do(scene: Scene) -> None:
        name = whom(scene)
        away = scene.dice.choice((0.0, scene.dice.uniform(0.0, 3.0)))
        scene.strike(f"{name} killed, back after {away:.1f} s")
        scene.stage.kill(name, away)
        time.sleep(away)

    return do


def _stop(whom: Callable[[Scene], str], longest: float = 8.0) -> Callable[[Scene], None]:
    def do(scene: Scene) -> None:
        name = whom(scene)
        scene.strike(f"{name} stopped")
        scene.stage.stop(name)
        try:
            scene.pause(0.3, longest)
        finally:
            scene.stage.resume(name)

    return do


def _stop_leader_until_succeeded(scene: Scene) -> None:
    """It wakes when another one has committed: whatever it had begun, it writes nothing."""
    scene.strike(f"{scene.leader} stopped until another one has committed")
    scene.stage.stop(scene.leader)
    try:
        assert scene.succeeded(), f"nobody took over from {scene.leader} in {SUCCESSION_SECONDS:.0f} s"
        scene.pause(0.0, 1.0)
    finally:
        scene.stage.resume(scene.leader)


def _cut(*pairs: Callable[[Scene], tuple[str, str]], longest: float = 8.0) -> Callable[[Scene], None]:
    def do(scene: Scene) -> None:
        how = scene.dice.choice(list(Cut))
        ends = [pair(scene) for pair in pairs]
        scene.strike(f"{', '.join('–'.join(pair) for pair in ends)} cut, {how}")
        for one, other in ends:
            scene.stage.wires.cut(one, other, how)
        try:
            scene.pause(0.5, longest)
        finally:
            scene.stage.wires.heal()

    return do


def _restart_postgres(scene: Scene) -> None:
    scene.strike("PostgreSQL restarted")
    scene.stage.postgres.stop()
    scene.pause(0.0, 3.0)
    scene.stage.postgres.start()


def _crash_postgres(scene: Scene) -> None:
    scene.strike("PostgreSQL crashed")
    scene.stage.crash_postgres()


def _fill_disk(scene: Scene) -> None:
    scene.strike("the blob store's disk full")
    scene.stage.disk.fill()
    try:
        scene.pause(0.5, 4.0)
    finally:
        scene.stage.disk.empty()


def _leader(scene: Scene) -> str:
    return scene.leader


def _executor(scene: Scene) -> str:
    return scene.dice.choice(EXECUTORS)


def _etcd_leader(scene: Scene) -> str:
    return scene.stage.members.leader() or scene.dice.choice(MEMBERS)


def _etcd_follower(scene: Scene) -> str:
    leader = scene.stage.members.leader()
    return scene.dice.choice([member for member in MEMBERS if member != leader])


DISK_FULL = Fault("disk full", _fill_disk)

ALL = (
    Fault("kill leader", _kill(_leader), ends_leadership=True),
    Fault("stop leader past its lease", _stop_leader_until_succeeded, ends_leadership=True),
    Fault("stop leader for a while", _stop(_leader, LEASE_TTL_SECONDS + 2.0)),
    Fault("kill standby", _kill(Scene.standby)),
    Fault("stop standby", _stop(Scene.standby)),
    Fault("kill executor", _kill(_executor)),
    Fault("stop executor", _stop(_executor, 10.0)),
    Fault("kill queue", _kill(lambda scene: "queue")),
    Fault("stop queue", _stop(lambda scene: "queue")),
    Fault("kill admin", _kill(lambda scene: "admin")),
    Fault("stop admin", _stop(lambda scene: "admin")),
    Fault("kill etcd leader", _kill(_etcd_leader)),
    Fault("stop etcd leader", _stop(_etcd_leader)),
    Fault("kill etcd follower", _kill(_etcd_follower)),
    Fault("stop etcd follower", _stop(_etcd_follower)),
    Fault("restart PostgreSQL", _restart_postgres),
    Fault("crash PostgreSQL", _crash_postgres),
    Fault("cut leader–PostgreSQL", _cut(lambda scene: (scene.leader, POSTGRES))),
    Fault("cut leader–etcd", _cut(*((lambda scene, member=member: (scene.leader, member)) for member in MEMBERS))),
    Fault("cut leader–queue", _cut(lambda scene: (scene.leader, "queue"))),
    Fault("cut leader–executor", _cut(lambda scene: (scene.leader, _executor(scene)), longest=10.0)),
    Fault("cut admin–PostgreSQL", _cut(lambda scene: ("admin", POSTGRES))),
    Fault("cut admin–queue", _cut(lambda scene: ("admin", "queue"))),
    Fault("cut etcd–etcd", _cut(lambda scene: (_etcd_leader(scene), _etcd_follower(scene)))),
    DISK_FULL,
)


def schedule(count: int, dice: random.Random, known: tuple[Fault, ...] = ALL) -> list[Fault]:
    """`count` faults at random, each kind as often as any other."""
    drawn: list[Fault] = []
    while len(drawn) < count:
        drawn += dice.sample(known, len(known))
    return drawn[:count]
