"""Who waits for what cannot come is told so: after a while, once, and again when it changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.workflow.identity import AttemptId
from libs.workflow.machine import messages as m
from libs.workflow.quantities import Slots
from services.propeller.placement import Placement
from services.propeller.rooms import Wish
from services.propeller.waits import PATIENCE_US, PORTION, Waits, why

CORE = Slots(cpu_millis=1000, memory_bytes=1 << 30)


@dataclass
class Watched:
    """Waits whose time is told and whose words are kept."""

    placement: Placement = field(default_factory=Placement)
    time_us: int = 0
    told: list[m.Waiting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waits = Waits(self.placement, self, self._tell)  # type: ignore[arg-type]  # only now_us is asked for

    def now_us(self) -> int:
        return self.time_us

    def _tell(self, execution: int, event: m.Event) -> None:
        assert isinstance(event, m.Waiting)
        self.told.append(event)

    def seek(self, number: int = 0, slots: Slots = CORE, *, interruptible: bool = False) -> None:
        identity = AttemptId(1, f"n{number}", 0)
        self.placement.seek(identity, slots, self.time_us, project="p", interruptible=interruptible)

    def later(self, us: int = PATIENCE_US) -> list[str]:
        """What is said after that time."""
        self.time_us += us
        self.told.clear()
        self.waits.look()
        return [event.reason for event in self.told]


def test_nothing_is_said_about_a_short_wait() -> None:
    it = Watched()
    it.seek()
    assert it.later(PATIENCE_US - 1) == []
    assert it.later(1) == ["NoExecutor: no executor is connected"]


def test_the_same_is_said_once() -> None:
    it = Watched()
    it.seek()
    assert len(it.later()) == 1
    assert it.later() == []


def test_what_changes_is_said_at_once_and_that_it_is_over_too() -> None:
    it = Watched()
    it.seek(slots=Slots(cpu_millis=64_000, memory_bytes=1 << 30, gpus=1))
    it.later()
    it.placement.open("e1", "life", Slots(cpu_millis=4000, memory_bytes=16 << 30))
    assert it.later(0) == [
        "NoFittingExecutor: it asks for 64 cpu, 1Gi memory, 1 gpu, and no connected executor is as large: "
        "e1 has 4 cpu, 16Gi memory"
    ]
    it.placement.open("e2", "life", Slots(cpu_millis=64_000, memory_bytes=16 << 30, gpus=1))
    it.placement.hold(AttemptId(2, "n0", 0), CORE, "e2", "p")
    assert it.later(0) == [""]
    assert it.later() == []


def test_nothing_is_said_to_who_only_waits_for_others() -> None:
    it = Watched()
    it.placement.open("e1", "life", CORE)
    it.seek(1)
    it.seek(2)
    assert it.later() == []


def test_an_executor_that_can_be_taken_away_is_no_place_for_what_must_not_be_interrupted() -> None:
    it = Watched()
    it.placement.open("spot", "life", CORE, interruptible=True)
    it.seek()
    assert it.later() == [
        "OnlyInterruptibleExecutors: only interruptible executors are connected (spot), and it must not run there"
    ]


def test_executors_that_take_nothing_say_why() -> None:
    placement = Placement()
    placement.open("e1", "life", CORE)
    placement.open("e2", "life", CORE)
    placement.set_open("e1", False, "the disk is full")
    placement.set_open("e2", False, "not connected")
    assert why(placement.rooms, Wish(CORE, 0, False)) == (
        "NoExecutor: no executor takes attempts now (e1: the disk is full; e2: not connected)"
    )


def test_very_many_are_told_in_portions() -> None:
    it = Watched()
    for number in range(PORTION + 1):
        it.seek(number)
    assert len(it.later()) == PORTION
    assert len(it.later()) == 1
    assert it.later() == []
