"""What an executor shows of itself: slots, attempts by outcome, reports that wait, its disk, its sessions."""

from __future__ import annotations

from typing import Final

from libs.telemetry.metrics import Board, Kind, Level, Metering, Metric, Values
from libs.wire.session import ReportPhase
from services.executor.attempts import Attempts
from services.executor.disk import Disk
from services.executor.session import Sessions
from services.executor.slots import SlotPool
from services.executor.spool import Spool

METRICS: Final = (
    Metric("airscrew.executor.sessions", Kind.GAUGE, "{leader}", "Leaders that it has a session with"),
    Metric(
        "airscrew.executor.draining", Kind.GAUGE, "{executor}", "1 while it takes nothing new and lets end what runs"
    ),
    Metric("airscrew.executor.troubled", Kind.GAUGE, "{executor}", "1 while its disk or its reports keep it from work"),
    Metric("airscrew.executor.attempts.running", Kind.GAUGE, "{attempt}", "Attempts that have not ended"),
    Metric(
        "airscrew.executor.attempts.waiting",
        Kind.GAUGE,
        "{attempt}",
        "Attempts that were assigned ahead and wait here for slots",
    ),
    Metric(
        "airscrew.executor.attempts.ended",
        Kind.COUNTER,
        "{attempt}",
        "Attempts that have ended here, by outcome",
        ("airscrew.attempt.phase",),
    ),
    Metric(
        "airscrew.executor.slots.capacity",
        Kind.GAUGE,
        "1",
        "What it offers, by resource: cores, bytes, GPUs",
        ("airscrew.resource",),
    ),
    Metric("airscrew.executor.slots.used", Kind.GAUGE, "1", "What of it attempts hold", ("airscrew.resource",)),
    Metric(
        "airscrew.executor.pods",
        Kind.GAUGE,
        "{pod}",
        "Attempts that are pods, by how far these are: waiting to be created, queued for a node, initializing, running",
        ("airscrew.pod.stage",),
    ),
    Metric("airscrew.executor.reports.spooled", Kind.GAUGE, "{report}", "Final reports that are not acknowledged"),
    Metric("airscrew.executor.disk.free", Kind.GAUGE, "By", "What is free where its data lies"),
)

STAGES: Final = ("waiting", "queued", "initializing", "running")
"""How far the pod of an attempt may be that has not ended."""
_OUTCOMES: Final = tuple(phase for phase in ReportPhase if phase.final)


def board(
    metering: Metering, slots: SlotPool, attempts: Attempts, spool: Spool, disk: Disk, sessions: Sessions
) -> Board:
    """Shows an executor."""

    def look() -> Values:
        used = slots.capacity.minus(slots.free)
        stages = attempts.stages()
        return {
            "airscrew.executor.sessions": [Level(sessions.leaders, {})],
            "airscrew.executor.draining": [Level(int(attempts.draining), {})],
            "airscrew.executor.troubled": [Level(int(bool(attempts.trouble())), {})],
            "airscrew.executor.attempts.running": [Level(attempts.running, {})],
            "airscrew.executor.attempts.waiting": [Level(attempts.waiting, {})],
            "airscrew.executor.attempts.ended": [
                Level(attempts.ended[phase], {"airscrew.attempt.phase": phase.name}) for phase in _OUTCOMES
            ],
            "airscrew.executor.slots.capacity": _by_resource(*slots.capacity),
            "airscrew.executor.slots.used": _by_resource(*used),
            "airscrew.executor.pods": [Level(stages[stage], {"airscrew.pod.stage": stage}) for stage in STAGES],
            "airscrew.executor.reports.spooled": [Level(len(spool), {})],
            "airscrew.executor.disk.free": [Level(disk.free_bytes(), {})],
        }

    return Board(metering, METRICS, look)


def _by_resource(cpu_millis: int, memory_bytes: int, gpus: int) -> list[Level]:
    return [
        Level(cpu_millis / 1000, {"airscrew.resource": "cpu"}),
        Level(memory_bytes, {"airscrew.resource": "memory"}),
        Level(gpus, {"airscrew.resource": "gpu"}),
    ]
