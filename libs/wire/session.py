"""What a leader and an executor say to each other in a session, as values; `codec` turns them into protobuf and back.

Times are microseconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum
from typing import Final

from libs.workflow.frozen import frozen
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workflow.state import Data

NO_INDEX: Final = -1
"""The index of an attempt that is no item of a list."""

INTERRUPTIBLE: Final = "interruptible"
"""The label (`true`) by which an executor says that its machine may be taken away at any moment."""


@frozen
class Spec:
    """A serialized `flyteidl.core.TaskTemplate` and the SHA-256 by which assignments name it."""

    digest: bytes
    task_template: bytes


@frozen
class Assignment:
    """One attempt to run. The fields are those of `airscrew.executor.v1.Assign`."""

    id: AttemptId
    spec_digest: bytes
    inputs: Data
    resources: Slots
    output_prefix: str
    raw_output_prefix: str
    log_uri: str
    inline_limit: int
    time_allowed_us: int = 0
    traceparent: str = ""
    project: str = ""
    domain: str = ""
    name: str = ""
    workflow: str = ""
    launch_plan: str = ""
    container_image: str = ""
    previous_checkpoint: str = ""
    envs: Mapping[str, str] = field(default_factory=dict)
    array_index: int = NO_INDEX
    interruptible: bool = False
    security_context: bytes = b""
    shard: int = 0
    overrides: bytes = b""
    as_pod: bool = False


@frozen
class Stop:
    """The leader wants this attempt to end now."""

    id: AttemptId
    reason: str


@frozen
class Ack:
    """The leader has committed what the report with this number said."""

    id: AttemptId
    seq: int


class ReportPhase(IntEnum):
    """Numbers of `airscrew.executor.v1.Report.Phase`."""

    INITIALIZING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    ABORTED = 5
    REJECTED = 6
    HANDED_BACK = 7

    @property
    def final(self) -> bool:
        return self >= ReportPhase.SUCCEEDED


@frozen
class Report:
    """What happened in an attempt. The fields are those of `airscrew.executor.v1.Report`.

    `reports.event` makes of it the event that the machine folds in. Where a task left a plan (`dynamic`), `outputs`
    says where that plan, `futures.pb`, lies.
    """

    id: AttemptId
    seq: int
    phase: ReportPhase
    at_us: int
    outputs: Data | None = None
    error: bytes = b""
    recoverable: bool = False
    reason: str = ""
    deck_uri: str = ""
    dynamic: bool = False
    started_us: int = 0
    shard: int = 0
    """Whose leader is to be told."""


@frozen
class Heartbeat:
    """A sign of life. `trouble` says why nothing new can be taken; empty when all is well."""

    disk_free_bytes: int
    trouble: str


@frozen
class Draining:
    """Take no new attempts for this executor from now on: it is stopping."""


@frozen
class Offer:
    """What this shard may hold of an executor that several share, what it holds already included."""

    slots: Slots


@frozen
class Hello:
    """The first message of a session: who this is and everything of this shard that it still knows."""

    executor: str
    incarnation: str
    capacity: Slots
    snapshot: tuple[Report, ...] = ()
    highest_epoch: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    shard: int = 0
    offer: Slots | None = None
    """As in `Offer`; None is all of the capacity."""
    backlog: int = 0
    """How many assignments may wait there for slots; beyond that, what does not fit is rejected."""
    places: int = 0
    """How many attempts that want slots this leader may hold there at once, whatever they want; 0: as many as fit."""
    former: str = ""
    """The incarnation before this one, if it is known what that had begun. Of what was assigned to it, all that is
    neither in `begun` nor in the snapshot had never begun."""
    begun: tuple[AttemptId, ...] = ()
    """What it had begun and not ended."""


FromExecutor = Hello | Report | Heartbeat | Draining | Offer


@frozen
class Welcome:
    """The propeller leads this shard and takes the session."""

    shard: int
    epoch: int
    heartbeat_us: int
    grace_us: int
    shards: int = 1
    """How many there are."""


@frozen
class Leader:
    """Who is said to lead a shard. `address` is empty when nobody does, `epoch` 0 when only the leader knows it."""

    shard: int
    address: str
    epoch: int


@frozen
class NotLeader:
    """The propeller that was dialled does not lead, but may know who does."""

    leaders: tuple[Leader, ...]


@frozen
class Drain:
    """Take nothing new from now on, and hand back what still runs after this time."""

    grace_us: int


@frozen
class Demand:
    """What waits for slots that this executor could give. The fields are those of `airscrew.propeller.v1.Demand`."""

    each: Slots = Slots()
    count: int = 0
    priority: int = 0
    gathers: bool = False


FromLeader = Welcome | NotLeader | Spec | Assignment | Stop | Ack | Drain | Demand


@frozen
class ExecutorSays:
    """Everything of one message of an executor."""

    hello: Hello | None = None
    reports: tuple[Report, ...] = ()
    draining: bool = False
    heartbeat: Heartbeat | None = None
    offer: Slots | None = None


@frozen
class LeaderSays:
    """Everything of one message of a leader; specs come before the assignments that need them."""

    verdict: Welcome | NotLeader | None = None
    specs: tuple[Spec, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    stops: tuple[Stop, ...] = ()
    acks: tuple[Ack, ...] = ()
    drain: Drain | None = None
    demand: Demand | None = None
