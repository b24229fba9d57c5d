"""Starting nodes: from being ready, over their literals, to a row of their own.

A node whose upstream nodes are done needs its literal map: inputs, or for an end node the outputs of its graph. What it
reads may lie in the blob store, and what comes out may be too large for a row; then it starts when the blob has been
read or written, and until then it has no row and a new leader begins with it anew.
"""

from __future__ import annotations

from flyteidl.core import literals_pb2
from google.protobuf.message import DecodeError

from libs.workflow import binding
from libs.workflow.errors import Internal
from libs.workflow.graph import GraphNode
from libs.workflow.machine.attempts import Attempts
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import Execution, LiveNode, Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.messages import BlobRead, BlobRole, BlobWritten, ReadBlob, WriteBlob
from libs.workflow.phases import ErrorKind, NodeKind, NodePhase
from libs.workflow.state import Data, NodeState

INLINE_LIMIT_BYTES = 16 * 1024
"""Literal maps up to this size live in rows and messages; larger ones in the blob store."""


class Starts:
    """What begins in one step."""

    def __init__(self, execution: Execution, journal: Journal, endings: Endings, attempts: Attempts) -> None:
        self._execution = execution
        self._journal = journal
        self._endings = endings
        self._attempts = attempts
        self._parsed: dict[int, literals_pb2.LiteralMap] = {}
        """By identity of the data: valid while the state that holds it is, which is this step."""

    def start_what_is_ready(self) -> None:
        """Starts nodes until none is ready and max_parallelism has room for none that it holds back."""
        execution = self._execution
        while True:
            while execution.ready:
                scope, index = execution.ready.popleft()
                self._start(scope, scope.graph.nodes[index])
            if not self._attempts.unpark():
                return

    def on_blob_read(self, event: BlobRead) -> None:
        """Nodes that read this blob may start, or never can."""
        waiting = self._execution.awaiting.pop(event.uri, {})
        try:
            if event.content is None:
                raise binding.BindingError(event.error)
            self._execution.blobs[event.uri] = _literal_map(event.content)
            self._execution.ready.extend(waiting.values())
        except binding.BindingError as error:
            for scope, index in waiting.values():
                self._fail_to_start(scope, scope.graph.nodes[index], "InputsNotReadable", error.message)

    def on_blob_written(self, event: BlobWritten) -> None:
        """The node whose literal map this is goes on, or never can."""
        waiting = self._execution.writing.pop((event.node_id, event.role), None)
        if waiting is None:
            return
        scope, index = waiting
        if event.data is None:
            self._fail_to_start(scope, scope.graph.nodes[index], f"{event.role.capitalize()}NotWritable", event.error)
        elif not scope.closing:
            self._go(scope, scope.graph.nodes[index], event.data)

    def _start(self, scope: Scope, spec: GraphNode) -> None:
        if scope.closing or scope.nodes[spec.index] is not None:
            return
        if spec.index in scope.poisoned:
            self._skip(scope, spec)
        elif spec.kind is NodeKind.START:
            self._open(scope, spec, NodePhase.SUCCEEDED, outputs=scope.inputs)
        elif self._blobs_are_here(scope, spec):
            self._start_with_inputs(scope, spec)

    def _start_with_inputs(self, scope: Scope, spec: GraphNode) -> None:
        try:
            literals = binding.resolve(spec.bindings, lambda node_id, var: self._output(scope, node_id, var))
        except binding.BindingError as error:
            self._fail_to_start(scope, spec, "BindingResolutionFailure", error.message)
            return
        serialized = literals.SerializeToString()
        if len(serialized) <= INLINE_LIMIT_BYTES:
            self._go(scope, spec, Data.of(serialized))
            return
        role = BlobRole.OUTPUTS if spec.kind is NodeKind.END else BlobRole.INPUTS
        node_id = scope.node_id(spec)
        if (node_id, role) not in self._execution.writing:  # ready twice, when two of its blobs came at once
            self._execution.writing[node_id, role] = (scope, spec.index)
            self._journal.command(WriteBlob(node_id, 0, role, serialized))

    def _go(self, scope: Scope, spec: GraphNode, data: Data) -> None:
        """Starts a node whose literal map is made: its inputs, or for an end node the outputs of its workflow."""
        if spec.kind is NodeKind.END:
            self._open(scope, spec, NodePhase.SUCCEEDED, outputs=data)
            self._endings.finish(scope, data)
        elif spec.kind is NodeKind.SUBWORKFLOW:
            node = self._open(scope, spec, NodePhase.RUNNING, inputs=data)
            node.state.started_at_us = self._journal.now_us
            self._run_graph(node, data)
        else:
            node = self._open(scope, spec, NodePhase.QUEUED, inputs=data)
            node.state.task = spec.task.id if spec.task else None
            self._attempts.seek_or_park(node)

    def _run_graph(self, node: LiveNode, inputs: Data) -> None:
        if node.spec.graph is None:
            raise Internal(f"node {node.state.id} has no graph to run")
        node.child = Scope(node.spec.graph, node, inputs)
        self._execution.ready.append((node.child, node.spec.graph.start))

    def _open(
        self,
        scope: Scope,
        spec: GraphNode,
        phase: NodePhase,
        inputs: Data | None = None,
        outputs: Data | None = None,
    ) -> LiveNode:
        """Gives a node its row. One that is final at once is also completed."""
        state = NodeState(
            id=scope.node_id(spec),
            spec_id=spec.id,
            parent_id=scope.parent.state.id if scope.parent else "",
            kind=spec.kind,
            inputs=inputs,
            outputs=outputs,
            created_at_us=self._journal.now_us,
            queued_at_us=self._journal.now_us,
        )
        node = LiveNode(scope, spec, state)
        scope.nodes[spec.index] = node
        self._journal.move(node, phase)
        if phase.terminal:
            self._endings.complete(node)
        else:
            scope.open.add(spec.index)
            self._execution.live[state.id] = node
        return node

    def _skip(self, scope: Scope, spec: GraphNode) -> None:
        self._open(scope, spec, NodePhase.SKIPPED)
        if spec.kind is NodeKind.END:
            self._endings.settle(scope)

    def _fail_to_start(self, scope: Scope, spec: GraphNode, code: str, message: str) -> None:
        if scope.closing or scope.nodes[spec.index] is not None:
            return
        node = self._open(scope, spec, NodePhase.QUEUED)
        self._endings.fail(node, code, message, ErrorKind.USER)

    def _blobs_are_here(self, scope: Scope, spec: GraphNode) -> bool:
        """Asks for the blobs that the node's bindings read and that nobody has read yet."""
        execution = self._execution
        here = True
        for source in spec.sources:
            data = self._outputs_of(scope, source)
            if data is None or data.uri is None or data.uri in execution.blobs:
                continue
            here = False
            if data.uri not in execution.awaiting:
                execution.awaiting[data.uri] = {}
                self._journal.command(ReadBlob(data.uri))
            execution.awaiting[data.uri][id(scope), spec.index] = (scope, spec.index)
        return here

    def _outputs_of(self, scope: Scope, index: int) -> Data | None:
        node = scope.nodes[index]
        return None if node is None else node.state.outputs

    def _output(self, scope: Scope, node_id: str, var: str) -> literals_pb2.Literal:
        spec = scope.graph.nodes[scope.graph.index[node_id]]
        data = self._outputs_of(scope, spec.index)
        var = spec.aliases.get(var, var)
        literals = self._literals(data) if data is not None else None
        if literals is None or var not in literals.literals:
            raise binding.BindingError(f"node {node_id} has no output {var!r}")
        return literals.literals[var]

    def _literals(self, data: Data) -> literals_pb2.LiteralMap:
        """Parsed once a step, for all the nodes that read it."""
        if data.uri is not None:
            return self._execution.blobs[data.uri]
        parsed = self._parsed.get(id(data))
        if parsed is None:
            parsed = self._parsed[id(data)] = _literal_map(data.inline or b"")
        return parsed


def _literal_map(serialized: bytes) -> literals_pb2.LiteralMap:
    """What a task has written may be anything. Raises BindingError."""
    try:
        return literals_pb2.LiteralMap.FromString(serialized)
    except DecodeError as error:
        raise binding.BindingError(f"what was written there is no literal map: {error}") from None
