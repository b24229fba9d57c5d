"""Gates: nodes that wait for a person's approval, for a value from outside, or for some time to pass."""

from __future__ import annotations

from flyteidl.core import literals_pb2

from libs.workflow.errors import Internal
from libs.workflow.graph import GateTarget, GraphNode
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import LiveNode, Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.openings import Openings
from libs.workflow.phases import ErrorKind, NodePhase
from libs.workflow.state import EMPTY, Data, SignalState


class Gates:
    """What gates do in one step."""

    def __init__(self, journal: Journal, endings: Endings, openings: Openings) -> None:
        self._journal = journal
        self._endings = endings
        self._openings = openings

    def begin(self, scope: Scope, spec: GraphNode, inputs: Data, literals: literals_pb2.LiteralMap) -> None:
        """From now on the signal can be given, or the time runs."""
        gate = gate_of(spec)
        node = self._openings.open(scope, spec, NodePhase.RUNNING, inputs=inputs)
        self._journal.execution.launched(node)
        if sleeps(spec):
            self._journal.execution.set_timer(node, self._journal.now_us + (gate.sleep_us or 0))
        if gate.type is None:
            return
        signal = SignalState(
            gate.signal_id, node.state.id, gate.type.SerializeToString(deterministic=True), self._journal.now_us
        )
        self._journal.turn.changes.signals.append(signal)
        self._journal.record("SignalAwaited", node, gate.signal_id)
        self.wait(node)

    def resume(self, node: LiveNode) -> None:
        """The signal may have been given while nobody led."""
        if gate_of(node.spec).type is not None:
            self.wait(node)

    def wait(self, node: LiveNode) -> None:
        """Goes on at once if the signal has been given already: another gate may have waited for the same one."""
        signal_id = gate_of(node.spec).signal_id
        self._journal.execution.gates.setdefault(signal_id, {})[node.state.id] = node
        given = dict(self._journal.execution.state.intent.signals).get(signal_id)
        if given is not None:
            self.on_signal(signal_id, given)

    def on_signal(self, signal_id: str, value: bytes) -> None:
        """A signal was given. Signals of gates that have not begun are for them to find."""
        for node in self._journal.execution.gates.pop(signal_id, {}).values():
            if not node.state.phase.terminal:
                self._go_on(node, literals_pb2.Literal.FromString(value))

    def on_timer(self, node: LiveNode) -> None:
        """The time has passed."""
        node.state.outputs = EMPTY
        self._endings.end(node, NodePhase.SUCCEEDED)

    def _go_on(self, node: LiveNode, value: literals_pb2.Literal) -> None:
        output = gate_of(node.spec).output
        self._journal.record("SignalGiven", node)
        if output is not None:
            result = literals_pb2.LiteralMap()
            result.literals[output].CopyFrom(value)
            node.state.outputs = Data.of(result.SerializeToString())
        elif value.scalar.primitive.boolean:
            node.state.outputs = node.state.inputs
        else:
            self._endings.fail(node, "ReceivedRejectSignal", "the approval was refused", ErrorKind.USER)
            return
        self._endings.end(node, NodePhase.SUCCEEDED)


def sleeps(spec: GraphNode) -> bool:
    """Whether a gate only waits for time to pass, and may wait so long."""
    allowed = spec.time_allowed_us
    return spec.gate is not None and spec.gate.sleep_us is not None and (not allowed or spec.gate.sleep_us <= allowed)


def gate_of(spec: GraphNode) -> GateTarget:
    if spec.gate is None:
        raise Internal(f"node {spec.id} is no gate")
    return spec.gate
