"""What the machine is told and what it asks for.

Events are facts: they have happened, and arrive in any order, late, or twice. Commands are wishes: the shell carries
them out *after* the changes of the same turn are committed, except `Seek`, the blob commands and `BuildGraph`, which
have no effect outside the leader (a blob is written under a path of this execution alone, and is not referred to before
the next commit).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from libs.workflow.frozen import frozen
from libs.workflow.graph import Graph
from libs.workflow.phases import ErrorKind, ExecutionPhase
from libs.workflow.state import Data, Intent

# ---------------------------------------------------------------------------------------------------------- events


@frozen
class IntentRead:
    """What `admin` wants of the execution, as read from the store."""

    intent: Intent


@frozen
class Placed:
    """A slot on an executor was taken for an attempt. It is the attempt's executor for ever, once committed."""

    node_id: str
    attempt: int
    executor: str
    incarnation: str
    log_uri: str


@frozen
class Waiting:
    """Why no slot can come for an attempt as things are; empty when one can again."""

    node_id: str
    attempt: int
    reason: str


@frozen
class Started:
    """An executor reports that the task process of an attempt runs."""

    node_id: str
    attempt: int
    executor: str
    seq: int
    at_us: int


@frozen
class Accepted:
    """An executor reports that it prepares an attempt, and perhaps why that takes so long."""

    node_id: str
    attempt: int
    executor: str
    seq: int
    at_us: int
    reason: str = ""


@frozen
class Succeeded:
    node_id: str
    attempt: int
    executor: str
    seq: int
    at_us: int
    started_us: int | None
    outputs: Data
    deck_uri: str | None = None
    futures: Data | None = None
    """Where a task that asks for more nodes has left its `DynamicJobSpec`; it has no outputs then."""


@frozen
class Failed:
    """An attempt ended with an error: `recoverable` says whether another one makes sense."""

    node_id: str
    attempt: int
    executor: str
    seq: int
    at_us: int
    started_us: int | None
    code: str
    message: str
    kind: ErrorKind
    recoverable: bool
    deck_uri: str | None = None


@frozen
class Stopped:
    """An executor confirms that an attempt was stopped and nothing of it runs."""

    node_id: str
    attempt: int
    executor: str
    seq: int
    at_us: int
    reason: str


@frozen
class Rejected:
    """An executor had no room after all, and started nothing."""

    node_id: str
    attempt: int
    executor: str
    seq: int
    reason: str


@frozen
class HandedBack:
    """An executor that drains has ended an attempt before it was done: nothing of it runs, and nobody is to blame."""

    node_id: str
    attempt: int
    executor: str
    seq: int
    at_us: int
    started_us: int | None
    reason: str


@frozen
class Lost:
    """The executor of an attempt is gone, or has forgotten it in a restart."""

    node_id: str
    attempt: int
    incarnation: str
    reason: str
    begun: bool = True
    """False: it is known that nothing of it was begun."""


@frozen
class BlobRead:
    """The content of a blob that was asked for; None when it can never be read, and then `error` says why."""

    uri: str
    content: bytes | None
    error: str = ""


@frozen
class BlobWritten:
    """A literal map that was too large for a row lies in the blob store; None when it can never be written there, and
    then `error` says why.
    """

    node_id: str
    role: BlobRole
    data: Data | None
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class GraphBuilt:
    """The nodes that a task asked for, compiled; or why there can be none, and then `graph` is None."""

    node_id: str
    attempt: int
    graph: Graph | None
    closure_uri: str = ""
    """Where the compiled closure lies."""
    error: str = ""


@frozen
class ChildEnded:
    """The execution that a launch plan node has launched is final."""

    node_id: str
    child_key: int
    phase: ExecutionPhase
    outputs: Data | None
    error: bytes | None


@frozen
class CacheAnswered:
    """What the cache knows of a key: outputs, or nothing; and whether the node may compute them now."""

    node_id: str
    outputs: Data | None
    reserved: bool = True
    """False: another node is computing them; `CacheFreed` tells when it has ended."""
    error: str = ""
    """Why the cache could not be asked."""


@frozen
class CacheFreed:
    """Whoever was computing the value of this key has ended: whoever waits for it asks again."""

    key: bytes


class BlobRole(StrEnum):
    """Which of a node's literal maps is meant."""

    INPUTS = "inputs"
    OUTPUTS = "outputs"


Event = (
    IntentRead
    | Placed
    | Waiting
    | Accepted
    | Started
    | Succeeded
    | Failed
    | Stopped
    | Rejected
    | HandedBack
    | Lost
    | BlobRead
    | BlobWritten
    | GraphBuilt
    | ChildEnded
    | CacheAnswered
    | CacheFreed
)
Report = Accepted | Started | Succeeded | Failed | Stopped | Rejected | HandedBack
REPORTS = (Accepted, Started, Succeeded, Failed, Stopped, Rejected, HandedBack)
"""For `isinstance`, which takes several times as long with a union."""
ENDS = (Succeeded, Failed, Stopped, Rejected, HandedBack)
"""Reports after which an executor has no more to say of an attempt, and wants to hear that it was understood."""

# -------------------------------------------------------------------------------------------------------- commands


@frozen
class Seek:
    """Find a slot for an attempt; answer with `Placed`."""

    node_id: str
    attempt: int


@frozen
class Dispatch:
    """Send a placed attempt to its executor."""

    node_id: str
    attempt: int


@frozen
class Unseek:
    """An attempt that was waiting for a slot needs none any more."""

    node_id: str
    attempt: int


@frozen
class Stop:
    """Make an executor stop an attempt; it answers with a final report."""

    node_id: str
    attempt: int
    reason: str


@frozen
class Disown:
    """An executor works on an attempt that is not, or no longer, its own: it must stop and forget it."""

    node_id: str
    attempt: int
    executor: str


@frozen
class AttemptEnded:
    """The slot of an attempt is free again."""

    node_id: str
    attempt: int


@frozen
class ReadBlob:
    """Read a literal map; answer with `BlobRead`."""

    uri: str


@frozen
class WriteBlob:
    """Store a literal map under the node's own path; answer with `BlobWritten`."""

    node_id: str
    attempt: int
    role: BlobRole
    content: bytes


@frozen
class BuildGraph:
    """Compile the nodes that a task asked for, store the closure, answer with `GraphBuilt`. Needs no commit before."""

    node_id: str
    attempt: int
    futures_uri: str


@frozen
class AttendChild:
    """An execution was launched: give it its first turn."""

    child_key: int


@frozen
class LookUpChild:
    """Tell with `ChildEnded` if this execution is final; if it is not, its end will tell."""

    node_id: str
    child_key: int


@frozen
class AttendBelow:
    """Descendants are to be aborted, as the commit says: give them turns."""


@frozen
class LookUpCache:
    """Ask the cache, and with `reserve` for the right to compute the value; answer with `CacheAnswered`."""

    node_id: str
    key: bytes
    reserve: bool


@frozen
class End:
    """The execution is final: forget it, and tell its parent."""

    phase: ExecutionPhase


Command = (
    Seek
    | Dispatch
    | Unseek
    | Stop
    | Disown
    | AttemptEnded
    | ReadBlob
    | WriteBlob
    | BuildGraph
    | AttendChild
    | LookUpChild
    | AttendBelow
    | LookUpCache
    | End
)
