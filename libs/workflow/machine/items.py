"""What an array node knows of its items: how many are under way, how they ended, and what they have computed.

Counters, and one small entry for each item, so that an event costs the same however many items there are. An item that
has ended is no node any more: its results are kept here in the form in which they are put together (about a hundred
bytes, and its outputs), and its row tells the rest.
"""

from __future__ import annotations

import bisect
import math

from flyteidl.core import execution_pb2, literals_pb2
from google.protobuf.message import DecodeError

from libs.workflow.graph import ArrayTarget
from libs.workflow.phases import NodePhase
from libs.workflow.state import EMPTY, Data, NodeState

WINDOW = 1_000
"""How many items wait to be placed or launched at most: that many start ahead of what runs, and in one step."""
TOLD_FAILURES = 10
"""How many failed items the error of their array tells about."""
TOLD_CHARACTERS = 2_000
"""Of the message of each."""

_FLOAT32_ERROR = 2.0**-23
"""`min_success_ratio` is a 32-bit number on the wire: a tenth of 30 items is 3, not a hair more than 3."""

Result = tuple[bytes, ...] | Data
"""What an item has left: for each of the array's outputs a serialized list of one element (lists are joined by joining
these bytes); or where its outputs lie, as long as nobody has read them.
"""

_HOLE = literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))


class Items:
    """The items of one array node that runs."""

    __slots__ = (
        "_failures",
        "_holes",
        "count",
        "cursor",
        "failed",
        "gathered",
        "literals",
        "needed",
        "reading",
        "results",
        "succeeded",
        "target",
        "under_way",
        "waiting",
        "writing",
    )

    def __init__(self, target: ArrayTarget, count: int) -> None:
        self.target = target
        self.count = count
        self.needed = _needed(target, count)
        """How many have to succeed."""
        self.cursor = 0
        """All items before this one have started."""
        self.under_way = 0
        """Items that have started and have not ended."""
        self.waiting: set[int] = set()
        """Those of them that have been neither placed nor launched."""
        self.succeeded = 0
        self.failed = 0
        self.results: list[Result | None] = [None] * count
        """None for items that have not ended."""
        self.literals: literals_pb2.LiteralMap | None = None
        """The array's inputs, as long as items are to be started that get some of them."""
        self.gathered = 0
        """All results before this one are here or being read."""
        self.reading: set[int] = set()
        """Items whose outputs are being read."""
        self.writing = False
        """Whether the array's outputs are being stored."""
        self._failures: list[tuple[int, int, bytes]] = []
        hole = literals_pb2.LiteralCollection(literals=[_HOLE]).SerializeToString()
        self._holes = (hole,) * len(target.outputs)

    @property
    def shared(self) -> bool:
        """Whether all items have the array's own inputs, and each is told its index."""
        return not self.target.sliced

    @property
    def ended(self) -> bool:
        """Whether all have."""
        return self.succeeded + self.failed == self.count

    @property
    def lost(self) -> bool:
        """Whether too many have failed; where all are to run, that counts when all have."""
        return self.count - self.failed < self.needed and (self.ended or not self.target.run_all)

    @property
    def room(self) -> bool:
        """Whether one more may start."""
        limit = self.target.parallelism
        return self.cursor < self.count and (not limit or self.under_way < limit) and len(self.waiting) < WINDOW

    def start(self) -> int:
        """The next item, which starts now."""
        index = self.cursor
        self.under_way += 1
        self.waiting.add(index)
        return index

    def skip_to(self, index: int) -> None:
        """The next item to start is this one."""
        self.cursor = index
        if index == self.count:
            self.literals = None

    def end(self, index: int, state: NodeState) -> None:
        """Counts an item that is final."""
        self.under_way -= 1
        self.waiting.discard(index)
        if state.phase in (NodePhase.SUCCEEDED, NodePhase.RECOVERED):
            self.succeeded += 1
            self.keep(index, state.outputs or EMPTY)
            return
        self.failed += 1
        self.results[index] = self._holes
        if state.error is not None:
            bisect.insort(self._failures, (state.ended_at_us or 0, index, state.error))
            del self._failures[TOLD_FAILURES:]

    def keep(self, index: int, outputs: Data) -> None:
        """Keeps what an item has computed; what cannot be taken apart now, or never, as it is."""
        if not self.target.outputs:
            self.results[index] = ()
            return
        if outputs.inline is not None:
            try:
                self.results[index] = self.taken_apart(outputs.inline)
                return
            except DecodeError:
                pass  # whoever gathers says so
        self.results[index] = outputs

    def taken_apart(self, serialized: bytes) -> tuple[bytes, ...]:
        """The outputs of an item, for each of the array's. Raises DecodeError."""
        literals = literals_pb2.LiteralMap.FromString(serialized).literals
        parts = []
        for name in self.target.outputs:
            part = literals_pb2.LiteralCollection()
            part.literals.append(literals.get(name, _HOLE))  # by keyword it takes twice as long
            parts.append(part.SerializeToString())
        return tuple(parts)

    def joined(self) -> bytes:
        """The array's outputs: for each name a list with an element for each item, in their order."""
        outputs = literals_pb2.LiteralMap()
        for position, name in enumerate(self.target.outputs):
            parts = (result[position] for result in self.results if isinstance(result, tuple))
            outputs.literals[name].collection.SetInParent()
            outputs.literals[name].collection.MergeFromString(b"".join(parts))
        return bytes(outputs.SerializeToString())

    def error(self) -> execution_pb2.ExecutionError:
        """Why the array has failed: what its first failed items say."""
        if not self._failures:
            message = f"{self.needed} items have to succeed, but there are {self.count}"
            return execution_pb2.ExecutionError(
                code="ArrayNodeFailing", message=message, kind=execution_pb2.ExecutionError.USER
            )
        errors = [(index, execution_pb2.ExecutionError.FromString(error)) for _, index, error in self._failures]
        lines = [f"[{index}]: {error.message[:TOLD_CHARACTERS]}" for index, error in errors]
        if self.failed > len(lines):
            lines.append(f"and {self.failed - len(lines)} more")
        first = errors[0][1]
        return execution_pb2.ExecutionError(code=first.code, message="\n".join(lines), kind=first.kind)


def _needed(target: ArrayTarget, count: int) -> int:
    if target.min_successes is not None:
        return target.min_successes
    if target.min_success_ratio is not None:
        return math.ceil(target.min_success_ratio * count * (1 - _FLOAT32_ERROR))
    return count
