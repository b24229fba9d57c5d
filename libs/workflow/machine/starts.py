"""Starting nodes: from being ready, over their literals, to a row of their own.

A node whose upstream nodes are done needs its literal map: inputs, or for an end node the outputs of its graph. What it
reads may lie in the blob store, and what comes out may be too large for a row; then it starts when the blob has been
read or written, and until then it has no row and a new leader begins with it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flyteidl.core import execution_pb2, literals_pb2, types_pb2

from libs.workflow import binding
from libs.workflow.errors import InvalidArgument
from libs.workflow.graph import GraphNode
from libs.workflow.machine.arrays import Arrays, Item
from libs.workflow.machine.attempts import Attempts
from libs.workflow.machine.children import completed
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.messages import BlobRead, BlobRole, BlobWritten, WriteBlob
from libs.workflow.machine.openings import INLINE_LIMIT_BYTES, Openings
from libs.workflow.machine.reading import Reading
from libs.workflow.machine.recovery import Recovery
from libs.workflow.phases import NodeKind, NodePhase
from libs.workflow.state import Data

STARTS_AT_ONCE = 512
"""How many ready nodes start in one turn. What has started is committed and runs while the others start; and whoever
else wants a turn has not long to wait.
"""

Begin = Callable[[Scope, GraphNode, Data, literals_pb2.LiteralMap], None]
"""What a kind of node does when it starts: with its inputs, as data to keep and as literals to look at."""

PASS_ON = frozenset({NodeKind.TASK, NodeKind.END})
"""Kinds of nodes that take their inputs as they come, and change nothing in what they look at."""

LOOK_INSIDE = frozenset({NodeKind.BRANCH, NodeKind.ARRAY})
"""Kinds of nodes that look at their inputs: literals that were offloaded have to be there."""


class Starts:
    """What begins in one step."""

    def __init__(
        self,
        journal: Journal,
        endings: Endings,
        openings: Openings,
        reading: Reading,
        attempts: Attempts,
        arrays: Arrays,
        begin: Mapping[NodeKind, Begin],
        recovery: Recovery,
    ) -> None:
        self._journal = journal
        self._endings = endings
        self._openings = openings
        self._reading = reading
        self._attempts = attempts
        self._arrays = arrays
        self._begin = begin
        self._recovery = recovery

    def start_what_is_ready(self) -> None:
        """Starts nodes until none is ready, no array has room and max_parallelism none for those that it holds back; or
        until so many have started that the others are for the next turn.
        """
        execution, turn = self._journal.execution, self._journal.turn
        while True:
            while execution.ready and turn.started < STARTS_AT_ONCE:
                turn.started += 1
                scope, index = execution.ready.popleft()
                self._start(scope, scope.graph.nodes[index])
            if execution.ready:
                self._attempts.unpark()
                return
            item = self._arrays.next_item() if execution.arrays else None
            if item is not None:
                self._start_item(item)
            elif not execution.ready and not (execution.parked and self._attempts.unpark()):
                return

    def on_blob_read(self, event: BlobRead) -> None:
        """Nodes that read this blob may start, or never can."""
        waiting = self._journal.execution.awaiting.pop(event.uri, {})
        if not waiting:
            return
        try:
            self._reading.keep(event)
            self._journal.execution.ready.extend(waiting.values())
        except binding.BindingError as error:
            for scope, index in waiting.values():
                self._cannot_read(scope, index, error.message)

    def _cannot_read(self, scope: Scope, index: int, message: str) -> None:
        node = scope.nodes[index]
        if node is not None and node.spec.kind is NodeKind.ARRAY:
            self._arrays.give_up(node, "InputsNotReadable", message)
        else:
            self._openings.fail(scope, scope.graph.nodes[index], "InputsNotReadable", message)

    def on_blob_written(self, event: BlobWritten) -> None:
        """The node whose literal map this is goes on, or never can."""
        waiting = self._journal.execution.writing.pop((event.node_id, event.role), None)
        if waiting is None:
            return
        scope, index, literals = waiting
        spec = scope.graph.nodes[index]
        if event.data is None:
            self._openings.fail(scope, spec, f"{event.role.capitalize()}NotWritable", event.error)
        elif scope.admits(index):
            self._go(scope, spec, event.data, literals)

    def _start(self, scope: Scope, spec: GraphNode) -> None:
        node = scope.nodes[spec.index]
        if node is not None and node.child is not None and node.child.items is not None:
            self._journal.execution.attend(node.child)  # its inputs are here again
        elif not scope.admits(spec.index):
            return
        elif spec.index in scope.poisoned:
            self._skip(scope, spec)
        elif spec.kind is NodeKind.START:
            self._openings.open(scope, spec, NodePhase.SUCCEEDED, outputs=scope.inputs)
        elif self._recovery.recovers(scope, spec):
            return
        elif self._blobs_are_here(scope, spec):
            self._start_with_inputs(scope, spec)

    def _start_with_inputs(self, scope: Scope, spec: GraphNode) -> None:
        try:
            if spec.whole is not None and spec.kind in PASS_ON and spec.index != scope.graph.failure:
                around = scope.data
                relayed = None if spec.relays < 0 else self._reading.relayed(around, spec.relays, spec.whole)
                self._start_with(scope, spec, *(relayed or self._reading.together(around, spec.whole)))
                return
            literals = binding.resolve(
                spec.bindings,
                lambda node_id, var: self._output(scope.data, node_id, var),
                self._reading.offloaded,
                spec.integers,
            )
            inside = binding.loaded(literals, self._reading.offloaded) if spec.kind in LOOK_INSIDE else literals
        except binding.NotRead as missing:
            self._reading.ask(missing.uri, scope, spec.index)
            return
        except binding.BindingError as error:
            self._openings.fail(scope, spec, "BindingResolutionFailure", error.message)
            return
        if spec.index == scope.graph.failure:
            _tell_what_failed(scope, literals)
        self._complete(scope, spec, literals, inside)

    def _start_item(self, item: Item) -> None:
        if self._recovery.recovers(item.scope, item.spec):
            return
        if item.inputs is not None:
            self._go(item.scope, item.spec, item.inputs, item.literals)
        else:
            self._complete(item.scope, item.spec, item.literals, item.literals)

    def _complete(
        self, scope: Scope, spec: GraphNode, kept: literals_pb2.LiteralMap, literals: literals_pb2.LiteralMap
    ) -> None:
        """`kept` is what the node gets, `literals` the same to look at."""
        if spec.kind is NodeKind.LAUNCH_PLAN:
            try:
                kept = completed(spec, kept)
            except InvalidArgument as error:
                self._openings.fail(scope, spec, "LaunchPlanInputsInvalid", error.message)
                return
        self._start_with(scope, spec, Data.of(kept.SerializeToString()), literals)

    def _start_with(self, scope: Scope, spec: GraphNode, data: Data, literals: literals_pb2.LiteralMap) -> None:
        """`data` is what the node gets, in the blob store if it is too large for a row."""
        if data.size <= INLINE_LIMIT_BYTES:
            self._go(scope, spec, data, literals)
            return
        role = BlobRole.OUTPUTS if spec.kind is NodeKind.END else BlobRole.INPUTS
        node_id = scope.node_id(spec)
        if (node_id, role) not in self._journal.execution.writing:  # ready twice, when two of its blobs came at once
            self._journal.execution.writing[node_id, role] = (scope, spec.index, literals)
            self._journal.command(WriteBlob(node_id, 0, role, data.inline or b""))

    def _go(self, scope: Scope, spec: GraphNode, data: Data, literals: literals_pb2.LiteralMap) -> None:
        """Starts a node whose literal map is made: its inputs, or for an end node the outputs of its workflow."""
        if spec.kind is NodeKind.END:
            self._openings.open(scope, spec, NodePhase.SUCCEEDED, outputs=data)
            self._endings.finish(scope, data)
        else:
            self._begin[spec.kind](scope, spec, data, literals)

    def _skip(self, scope: Scope, spec: GraphNode) -> None:
        self._openings.open(scope, spec, NodePhase.SKIPPED)
        if spec.kind is NodeKind.END:
            self._endings.settle(scope)

    def _blobs_are_here(self, scope: Scope, spec: GraphNode) -> bool:
        """Asks for the blobs that the node's bindings read and that nobody has read yet."""
        here = True
        for source in spec.sources:
            data = self._outputs_of(scope.data, source)
            if data is not None and data.uri is not None and not self._reading.is_here(data):
                here = False
                self._reading.ask(data.uri, scope, spec.index)
        return here

    def _outputs_of(self, scope: Scope, index: int) -> Data | None:
        node = scope.nodes[index]
        return None if node is None else node.state.outputs

    def _output(self, scope: Scope, node_id: str, var: str) -> literals_pb2.Literal:
        return self._reading.output(scope, scope.graph.index[node_id], var)


def _tell_what_failed(scope: Scope, literals: literals_pb2.LiteralMap) -> None:
    """A failure node that has an input called `err` gets the failure there, as the SDK's FlyteError."""
    if "err" not in literals.literals:
        return
    error = execution_pb2.ExecutionError.FromString(scope.error or b"")
    union = literals.literals["err"].scalar.union
    union.value.scalar.error.CopyFrom(types_pb2.Error(failed_node_id=scope.failed, message=error.message))
    union.type.simple = types_pb2.ERROR
    union.type.structure.tag = "FlyteError"
