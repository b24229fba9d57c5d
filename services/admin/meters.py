"""What the front door shows beside its calls, which `libs.rpc.metered` counts: who watches, and keys on their way."""

from __future__ import annotations

from typing import Final

from libs.clients.queue import Enqueuer
from libs.telemetry.metrics import Board, Kind, Level, Metering, Metric, Values
from services.admin.ears import Ears
from services.admin.hints import Hints

METRICS: Final = (
    Metric("airscrew.admin.watchers", Kind.GAUGE, "{stream}", "Streams that wait for changes of executions"),
    Metric(
        "airscrew.admin.propellers.followed",
        Kind.GAUGE,
        "{propeller}",
        "Propellers that tell this replica of ends themselves: each that leads, normally",
    ),
    Metric("airscrew.admin.ends.heard", Kind.COUNTER, "{execution}", "Ends of executions that they have told it of"),
    Metric("airscrew.admin.keys.unacknowledged", Kind.GAUGE, "{key}", "Keys that the queue service has not taken yet"),
    Metric(
        "airscrew.admin.keys.dropped", Kind.COUNTER, "{key}", "Keys that were left to the sweep: the queue was away"
    ),
)


def board(metering: Metering, hints: Hints, ears: Ears, enqueuer: Enqueuer) -> Board:
    """Shows a replica."""

    def look() -> Values:
        return {
            "airscrew.admin.watchers": [Level(hints.watchers, {})],
            "airscrew.admin.propellers.followed": [Level(ears.followed, {})],
            "airscrew.admin.ends.heard": [Level(ears.ends, {})],
            "airscrew.admin.keys.unacknowledged": [Level(enqueuer.unacknowledged, {})],
            "airscrew.admin.keys.dropped": [Level(enqueuer.dropped, {})],
        }

    return Board(metering, METRICS, look)
