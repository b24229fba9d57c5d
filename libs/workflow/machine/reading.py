"""What lies in the blob store and is read before a node can go on.

Two kinds of things are read: literal maps (outputs that are too large for a row), and single literals that a task has
offloaded. Each is asked for once, whoever waits for it; when it is here, all that wait are ready again.
"""

from __future__ import annotations

from flyteidl.core import literals_pb2
from google.protobuf.message import DecodeError

from libs.workflow import binding
from libs.workflow.graph import Reads
from libs.workflow.machine.execution import Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.messages import BlobRead, ReadBlob
from libs.workflow.state import Data


class Reading:
    """What is read in one step."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._parsed: dict[int, tuple[Data, literals_pb2.LiteralMap]] = {}
        """By identity of the data, which is kept too: an item that has ended is forgotten at once, and other data may
        come to lie where its data was.
        """
        self._together: dict[tuple[int, int], tuple[Scope, Data, literals_pb2.LiteralMap]] = {}
        """By identity of scope and reads, likewise."""

    def is_here(self, data: Data) -> bool:
        return data.uri is None or data.uri in self._journal.execution.blobs

    def literals(self, data: Data) -> literals_pb2.LiteralMap:
        """Parsed once a step, for all the nodes that read it. Raises NotRead and BindingError."""
        if data.uri is not None:
            if data.uri not in self._journal.execution.blobs:
                raise binding.NotRead(data.uri)
            return self._journal.execution.blobs[data.uri]
        if id(data) not in self._parsed:
            self._parsed[id(data)] = data, _literal_map(data.inline or b"")
        return self._parsed[id(data)][1]

    def output(self, scope: Scope, index: int, var: str) -> literals_pb2.Literal:
        """An output of a node. Raises BindingError when there is none, and NotRead."""
        spec = scope.graph.nodes[index]
        node = scope.nodes[index]
        data = None if node is None else node.state.outputs
        if data is not None:
            literals = self.literals(data).literals
            var = spec.aliases.get(var, var)
            if var in literals:
                return literals[var]
        raise binding.BindingError(f"node {spec.id} has no output {var!r}")

    def together(self, scope: Scope, reads: Reads) -> tuple[Data, literals_pb2.LiteralMap]:
        """These outputs as the inputs of a node, to keep and to look at: made once a step, for all the nodes that get
        the same. Raises as `output` does.
        """
        known = self._together.get((id(scope), id(reads)))
        if known is None:
            literals = literals_pb2.LiteralMap()
            for name, index, var in reads:
                literals.literals[name].CopyFrom(self.output(scope, index, var))
            known = scope, Data.of(literals.SerializeToString()), literals
            self._together[id(scope), id(reads)] = known
        return known[1], known[2]

    def relayed(self, scope: Scope, index: int, reads: Reads) -> tuple[Data, literals_pb2.LiteralMap] | None:
        """What a node has given, if it is what is read of it and nothing else: then it goes on as it is."""
        node = scope.nodes[index]
        data = None if node is None else node.state.outputs
        if data is None or data.inline is None or scope.graph.nodes[index].aliases:
            return None
        message = self.literals(data)
        literals = message.literals
        for _, _, var in reads:
            if var not in literals:
                return None
        return (data, message) if len(literals) == len(reads) else None

    def offloaded(self, uri: str) -> literals_pb2.Literal:
        """A literal that lies apart. Raises NotRead."""
        literal = self._journal.execution.offloaded.get(uri)
        if literal is None:
            self._journal.execution.offloaded[uri] = None  # tells what the content will be
            raise binding.NotRead(uri)
        return literal

    def ask(self, uri: str, scope: Scope, index: int) -> None:
        """The node is ready again when this blob is here."""
        awaiting = self._journal.execution.awaiting
        if uri not in awaiting:
            awaiting[uri] = {}
            self._journal.command(ReadBlob(uri))
        awaiting[uri][id(scope), index] = (scope, index)

    def keep(self, event: BlobRead) -> None:
        """Keeps what was read for those who have asked. Raises BindingError if it can never be read.

        A task may say that a literal lies where a literal map does: then it is read once for either.
        """
        if event.content is None:
            raise binding.BindingError(event.error)
        offloaded = self._journal.execution.offloaded
        if event.uri in offloaded and offloaded[event.uri] is None:
            offloaded[event.uri] = _literal(event.content)
        else:
            self._journal.execution.blobs[event.uri] = _literal_map(event.content)

    def close(self) -> None:
        """At the end of a step: nobody needs what was read when nobody waits for more."""
        if self._parsed:
            self._parsed.clear()
            self._together.clear()
        execution = self._journal.execution
        if not execution.awaiting and (execution.blobs or execution.offloaded):
            execution.blobs.clear()
            execution.offloaded.clear()


def _literal_map(serialized: bytes) -> literals_pb2.LiteralMap:
    """What a task has written may be anything. Raises BindingError."""
    try:
        return literals_pb2.LiteralMap.FromString(serialized)
    except DecodeError as error:
        raise binding.BindingError(f"what was written there is no literal map: {error}") from None


def _literal(serialized: bytes) -> literals_pb2.Literal:
    try:
        return literals_pb2.Literal.FromString(serialized)
    except DecodeError as error:
        raise binding.BindingError(f"what was written there is no literal: {error}") from None
