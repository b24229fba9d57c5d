"""Array nodes: one node, as often as its lists are long.

The items are nodes of their own in the array's scope; whatever an item can be (a task, a workflow, a child execution),
it is begun by who begins such nodes. Here: how many there are, which start next, and what becomes of their results.

Items start in their order while there is room: for the array's own parallelism, and never more than a window of them
ahead of what is placed or launched, so that a hundred thousand items fill neither the memory nor a step.
"""

from __future__ import annotations

from dataclasses import dataclass

from flyteidl.core import literals_pb2
from google.protobuf.message import DecodeError

from libs.workflow import binding
from libs.workflow.errors import Internal
from libs.workflow.graph import ArrayTarget, GraphNode, items_of
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import LiveNode, Scope
from libs.workflow.machine.items import WINDOW, Items
from libs.workflow.machine.journal import Journal, execution_error
from libs.workflow.machine.messages import BlobRead, BlobRole, BlobWritten, ReadBlob, WriteBlob
from libs.workflow.machine.openings import INLINE_LIMIT_BYTES, Openings
from libs.workflow.machine.reading import Reading
from libs.workflow.phases import ErrorKind, NodePhase
from libs.workflow.state import Data

READS_AT_ONCE = 64
"""How many items' outputs are being read at a time."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item that is to start."""

    scope: Scope
    spec: GraphNode
    literals: literals_pb2.LiteralMap
    """To look at; and to keep, unless its inputs are the array's own."""
    inputs: Data | None
    """The array's own."""


class Arrays:
    """What array nodes do in one step."""

    def __init__(self, journal: Journal, endings: Endings, openings: Openings, reading: Reading) -> None:
        self._journal = journal
        self._endings = endings
        self._openings = openings
        self._reading = reading
        self._left = 0
        """How many items may still start in this step."""

    def open(self) -> None:
        """A step begins."""
        self._left = WINDOW

    def begin(self, scope: Scope, spec: GraphNode, inputs: Data, literals: literals_pb2.LiteralMap) -> None:
        """Counts the items; they start when the array is looked after next."""
        target = array_of(spec)
        try:
            count = _count(literals, target)
        except binding.BindingError as error:
            self._openings.fail(scope, spec, "InvalidArrayLength", error.message)
            return
        node = self._openings.open(scope, spec, NodePhase.RUNNING, inputs=inputs)
        node.state.items = count
        node.child = Scope(items_of(target.item, count), node, inputs)
        node.child.items = Items(target, count)
        if _looks_at_inputs(target):
            node.child.items.literals = literals
        self._journal.execution.attend(node.child)

    # ------------------------------------------------------------------------------------------------------- starting

    def next_item(self) -> Item | None:
        """The next item that there is room for, of any array. Arrays whose items have all ended go on on the way."""
        arrays = self._journal.execution.arrays
        while arrays:
            key, scope = next(iter(arrays.items()))
            item = self._next_of(scope)
            if item is not None:
                return item
            arrays.pop(key, None)
        return None

    def _next_of(self, scope: Scope) -> Item | None:
        node, items = _array(scope)
        if scope.closing or node.state.phase.terminal:
            return None
        if items.lost:
            error = items.error()
            self.give_up(node, error.code, error.message, ErrorKind(error.kind))
        elif items.ended:
            self._gather(scope)
        elif items.room:
            return self._started(scope, node, items)
        return None

    def _started(self, scope: Scope, node: LiveNode, items: Items) -> Item | None:
        if self._left == 0:
            self._go_on_soon(node)
            return None
        literals = self._literals(node, items)
        if literals is None:
            return None
        self._left -= 1
        index = items.start()
        spec = scope.graph.nodes[index]
        items.skip_to(scope.first_unstarted(index + 1))  # under a former leader, later ones may have started
        own = sliced(literals, items.target, index) if _looks_at_inputs(items.target) else literals
        return Item(scope, spec, own, scope.inputs if items.shared else None)

    def _go_on_soon(self, node: LiveNode) -> None:
        """In the next step, which comes at once: what has started so far is to be committed first."""
        if node.state.wake_at_us is None:
            self._journal.execution.set_timer(node, self._journal.now_us)
            self._journal.touch(node)

    def on_timer(self, node: LiveNode) -> None:
        """The next step has come."""
        if node.child is not None:
            self._journal.execution.attend(node.child)

    def _literals(self, node: LiveNode, items: Items) -> literals_pb2.LiteralMap | None:
        """What items are to look at; None when it has to be read first, or can't be."""
        if not _looks_at_inputs(items.target):
            return literals_pb2.LiteralMap()
        if items.literals is None and node.state.inputs is not None:
            try:
                literals = self._reading.literals(node.state.inputs)
                items.literals = binding.loaded(literals, self._reading.offloaded)
            except binding.NotRead as missing:
                self._reading.ask(missing.uri, node.scope, node.spec.index)
            except binding.BindingError as error:
                self.give_up(node, "InputsNotReadable", error.message)
        return items.literals

    # -------------------------------------------------------------------------------------------------------- gathering

    def _gather(self, scope: Scope) -> None:
        """All items have ended, and enough have succeeded: their outputs become the array's."""
        node, items = _array(scope)
        while items.gathered < items.count and len(items.reading) < READS_AT_ONCE:
            result = items.results[items.gathered]
            if isinstance(result, Data):
                if result.uri is None:
                    self._unreadable(node, items.gathered, "what was written there is no literal map")
                    return
                self._read(node, items, result.uri)
            items.gathered += 1
        if not items.reading and not items.writing:
            self._finish(scope, node, items)

    def _read(self, node: LiveNode, items: Items, uri: str) -> None:
        items.reading.add(items.gathered)
        if uri not in self._journal.execution.gathering:
            self._journal.execution.gathering[uri] = []
            self._journal.command(ReadBlob(uri))
        self._journal.execution.gathering[uri].append((node, items.gathered))

    def _finish(self, scope: Scope, node: LiveNode, items: Items) -> None:
        outputs = items.joined()
        if len(outputs) <= INLINE_LIMIT_BYTES:
            self._endings.finish(scope, Data.of(outputs))
            return
        items.writing = True
        self._journal.command(WriteBlob(node.state.id, 0, BlobRole.OUTPUTS, outputs))

    def on_blob_read(self, event: BlobRead) -> None:
        """The outputs of items, if that is what it is."""
        for node, index in self._journal.execution.gathering.pop(event.uri, ()):
            if node.child is None or node.child.items is None or node.child.closing:
                continue
            node.child.items.reading.discard(index)
            if event.content is None:
                self._unreadable(node, index, event.error)
                continue
            try:
                node.child.items.results[index] = node.child.items.taken_apart(event.content)
            except DecodeError as error:
                self._unreadable(node, index, f"what was written there is no literal map: {error}")
            else:
                self._journal.execution.attend(node.child)

    def on_blob_written(self, event: BlobWritten) -> bool:
        """The outputs of an array lie in the blob store, or never can; tells whether it was about an array's."""
        node = self._journal.execution.node(event.node_id)
        if event.role is not BlobRole.OUTPUTS or node is None or node.child is None or node.child.items is None:
            return False
        if not node.child.items.writing or node.child.closing:
            return True
        if event.data is None:
            self.give_up(node, "OutputsNotWritable", event.error)
        else:
            self._endings.finish(node.child, event.data)
        return True

    def _unreadable(self, node: LiveNode, index: int, message: str) -> None:
        self.give_up(node, "OutputsNotReadable", f"[{index}]: {message}")

    def give_up(self, node: LiveNode, code: str, message: str, kind: ErrorKind = ErrorKind.USER) -> None:
        """An array cannot go on: what runs of it is stopped."""
        if node.child is not None and not node.child.closing:
            node.child.error = execution_error(code, message, kind)
            self._journal.record("NodeFailed", node, f"{code}: {message}")
            self._endings.close(node.child)


def array_of(spec: GraphNode) -> ArrayTarget:
    if spec.array is None:
        raise Internal(f"node {spec.id} is no array node")
    return spec.array


def sliced(literals: literals_pb2.LiteralMap, target: ArrayTarget, index: int) -> literals_pb2.LiteralMap:
    """The inputs of one item: its element of each list, and the rest whole."""
    own = literals_pb2.LiteralMap()
    for name, literal in literals.literals.items():
        elements = None if name in target.bound else _list(literal)
        own.literals[name].CopyFrom(literal if elements is None else elements.literals[index])
    return own


def _looks_at_inputs(target: ArrayTarget) -> bool:
    """Whether items are more than an index to their array: they have inputs of their own, or are looked up by them."""
    return target.sliced or target.item.cache is not None


def _count(literals: literals_pb2.LiteralMap, target: ArrayTarget) -> int:
    """How many items there are. Raises BindingError."""
    lengths = {
        name: len(elements.literals)
        for name, literal in sorted(literals.literals.items())
        if name not in target.bound and (elements := _list(literal)) is not None
    }
    if not lengths:
        if target.bound and target.bound.issuperset(literals.literals):
            return 1
        raise binding.BindingError(f"none of {', '.join(sorted(literals.literals)) or 'no inputs'} is a list")
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise binding.BindingError(f"lists of different lengths: {shown} elements")
    return next(iter(lengths.values()))


def _list(literal: literals_pb2.Literal) -> literals_pb2.LiteralCollection | None:
    while literal.scalar.HasField("union"):
        literal = literal.scalar.union.value
    return literal.collection if literal.HasField("collection") else None


def _array(scope: Scope) -> tuple[LiveNode, Items]:
    if scope.parent is None or scope.items is None:
        raise Internal("a scope has no items")
    return scope.parent, scope.items
