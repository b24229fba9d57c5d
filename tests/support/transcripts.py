"""Scenarios as text: what happens to an execution, and what the machine makes of it, for people to read.

A scenario is a list of blocks, apart by empty lines: a command, maybe with more lines to it, then `----` and what comes
of it. The first block writes the workflow down, one node a line; every workflow gets a task `sum` at its end, which
adds up what its sinks computed. In the answers, rows come first (`node n0 QUEUED -> RUNNING`), then what the machine
wishes for (`dispatch n0/0`).

    workflow [go-on] [parallel=N]       begin               abort               crash          advance 1.5s
    n0 retries=1                        place n0 [on=e2]    accepted n0         started n0     again
    n1 after=n0                         succeed n0 3        succeed n0 large    stopped n0     reject n0
    n2 after=n0,n1 inside               fail n0 (recoverable|fatal|system) CODE                lose n0
        n0                              read n0 [corrupt]   unreadable n0       (wrote|unwritable) n1 (inputs|outputs)

`n0` is the current attempt of the node, `n0/1` a certain one. Reports take `by=EXECUTOR` and `seq=N`; without it each
has the next number. `succeed n0 none` is None, and so on for what else is no number.

    n3 branch after=n0                  n4 dynamic          n6 approve=ID       on-failure f
        if>3 n3-0 after=n1                  n0              n7 signal=ID
        else n3-1                       n5 launch           n8 sleep=5
        error the message                   n0

    n9 array x=1,2,3 [z=4,5,6] [sliced] [at-once=N] [ratio=R] [successes=N] [run-all] [inside|launch]
        n0

    ask n4                              the attempt of a dynamic node ends: it asks for its nodes
    built n4 / unbuildable n4           the nodes are compiled, or cannot be
    give ID (yes|no|NUMBER) [unread]    a signal is given
    ended n5 (succeeded 3|failed CODE|aborted) [unread]   the execution of a launch plan node is final
    abort [unread]

    workflow [deadline=10s] [overwrite-cache]
    n0 cache=1 serialized               n0 timeout=1.5      n0 backoff=5s
    hit n0 7 / miss n0                  what the cache answers
    busy n0 / trouble n0                … that another node computes it, or that it cannot be read
    freed n0                            whoever computed what n0 waits for has ended
    recover                             what has ended is recovered: everything that follows is about the new execution

`unread` is what nobody is told of, because nobody leads: the next `crash` finds it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from flyteidl.core import execution_pb2, literals_pb2

from libs.workflow.machine import INLINE_LIMIT_BYTES, Turn
from libs.workflow.machine import messages as m
from libs.workflow.machine.journal import execution_error
from libs.workflow.phases import ErrorKind, ExecutionPhase
from libs.workflow.state import AttemptState, Data, ExecutionState, NodeState
from tests.support.graphs import DYNAMIC, Arm, Array, Branch, Gate, Plan, Step
from tests.support.machine import World, world_of


@dataclass(frozen=True)
class Block:
    """A command with the lines that belong to it, and what is expected to come of it."""

    text: str
    expected: str


def blocks(scenario: str) -> list[Block]:
    """The blocks of a scenario; what comes before the first one is its introduction and left out."""
    parts = [part.strip("\n") for part in scenario.split("\n\n")]
    pairs = [part.partition("\n----") for part in parts if "\n----" in part]
    return [Block(text, expected.strip("\n")) for text, _, expected in pairs]


def introduction(scenario: str) -> str:
    first, _, _ = scenario.partition("\n\n")
    return "" if "\n----" in first else first + "\n\n"


class Interpreter:
    """Plays the blocks of one scenario in order."""

    def __init__(self) -> None:
        self._world: World | None = None
        self._seq: Counter[tuple[str, int]] = Counter()
        self._last: m.Event | None = None

    def play(self, text: str) -> str:
        """Carries out a command. Returns the transcript of what came of it."""
        head, *body = text.splitlines()
        name, *words = head.split()
        if name == "workflow":
            return self._workflow(words, body)
        it = self._it
        if name == "recover":
            self._world = it.store.recover(it.state.key, it.state.key + 1)
            return "accepted"
        before = _Rows(it)
        turn = self._turn(name, words)
        if turn is None:
            return "unread"
        return "\n".join(_told(before, _Rows(it), turn, it.now_us)) or "nothing"

    @property
    def _it(self) -> World:
        assert self._world is not None, "the first command must be `workflow`"
        return self._world

    def _workflow(self, words: list[str], body: list[str]) -> str:
        options = _options(words)
        plan = _plan(body, "wf", words, 0, int(options.get("parallel", 0)))
        deadline = options.get("deadline", "")
        self._world = world_of(replace(plan, deadline=deadline, overwrite_cache="overwrite-cache" in words))
        return "accepted"

    def _turn(self, name: str, words: list[str]) -> Turn | None:
        it = self._it
        if name == "begin":
            return it.begin()
        if name == "crash":
            return it.crash()
        if name == "advance":
            it.store.now_us += round(float(words[0].removesuffix("s")) * 1e6)
            return it.turn()
        if name in ("abort", "give"):
            it.order_abort("enough", "somebody") if name == "abort" else it.give(words[0], _signal(words[1]))
            event: m.Event = m.IntentRead(it.intent)
        elif name == "again":
            assert self._last is not None, "nothing has happened that could happen again"
            event = self._last
        else:
            event = self._last = self._event(name, words[0], words[1:])
        if isinstance(event, m.ChildEnded):
            it.store.worlds[event.child_key].state.phase = event.phase
        return None if "unread" in words else it.turn(event)

    def _event(self, name: str, node: str, words: list[str]) -> m.Event:
        options = _options(words)
        node_id, _, number = node.partition("/")
        if name in ("read", "unreadable"):
            return _blob(f"blob:/{node_id}", name == "read", "corrupt" in words)
        if name == "unwritable":
            return m.BlobWritten(node_id, m.BlobRole(words[0]), None, "it leads out of the store")
        if name == "wrote":
            role = m.BlobRole(words[0])
            return m.BlobWritten(node_id, role, Data.at(f"blob:/{node_id}", INLINE_LIMIT_BYTES + 1))
        if name in ("hit", "miss", "busy", "trouble"):
            found = _outputs(node_id, words[0]) if name == "hit" else None
            return m.CacheAnswered(node_id, found, name != "busy", "the database is away" if name == "trouble" else "")
        if name == "freed":
            return m.CacheFreed(self._it.nodes[node_id].cache_key or b"")
        attempt = int(number or self._it.nodes[node_id].attempt)
        if name == "ended":
            return self._ended(node_id, words)
        if name in ("built", "unbuildable"):
            return self._graph(node_id, attempt, name == "built")
        executor = options.get("on", "e1")
        if name == "place":
            return m.Placed(node_id, attempt, executor, f"life of {executor}", "log")
        if name == "lose":
            executor = self._it.attempts[node_id, attempt].executor or executor
            return m.Lost(node_id, attempt, f"life of {executor}", "not heard of", begun="unbegun" not in words)
        return self._report(name, node_id, attempt, words, options)

    def _ended(self, node_id: str, words: list[str]) -> m.ChildEnded:
        key = self._it.nodes[node_id].child_key or 0
        phase = ExecutionPhase[words[0].upper()]
        outputs = _outputs("", words[1]) if phase is ExecutionPhase.SUCCEEDED else None
        error = execution_error(words[1], "it broke", ErrorKind.USER) if phase is ExecutionPhase.FAILED else None
        return m.ChildEnded(node_id, key, phase, outputs, error)

    def _graph(self, node_id: str, attempt: int, good: bool) -> m.GraphBuilt:
        if not good:
            return m.GraphBuilt(node_id, attempt, None, error="node n0 makes no sense")
        store, uri = self._it.store, f"closure:/{node_id}"
        task = self._it.nodes[node_id].task
        assert task is not None
        store.closures[uri] = store.graph(task.name.removeprefix(DYNAMIC))
        return m.GraphBuilt(node_id, attempt, store.closures[uri], uri)

    def _report(self, name: str, node_id: str, attempt: int, words: list[str], options: dict[str, str]) -> m.Event:
        self._seq[node_id, attempt] += 1
        row = self._it.attempts.get((node_id, attempt))
        by = options.get("by") or (row.executor if row else None) or "e1"
        seq = int(options.get("seq", self._seq[node_id, attempt]))
        now_us = self._it.now_us
        if name == "accepted":
            return m.Accepted(node_id, attempt, by, seq, now_us)
        if name == "started":
            return m.Started(node_id, attempt, by, seq, now_us)
        if name == "succeed":
            return m.Succeeded(node_id, attempt, by, seq, now_us, None, _outputs(node_id, words[0]))
        if name == "ask":
            futures = Data.at(f"futures:/{node_id}", 1)
            return m.Succeeded(node_id, attempt, by, seq, now_us, None, Data.of(b""), futures=futures)
        if name == "stopped":
            return m.Stopped(node_id, attempt, by, seq, now_us, "told to")
        if name == "reject":
            return m.Rejected(node_id, attempt, by, seq, "no room")
        if name == "hand-back":
            return m.HandedBack(node_id, attempt, by, seq, now_us, None, "its executor drains")
        assert name == "fail", f"{name!r} is no command"
        kind = ErrorKind.SYSTEM if words[0] == "system" else ErrorKind.USER
        return m.Failed(node_id, attempt, by, seq, now_us, None, words[1], "it broke", kind, words[0] != "fatal")


def _options(words: Iterable[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def _plan(lines: list[str], name: str, words: list[str], depth: int, parallel: int = 0) -> Plan:
    """The lines at `depth` and below, up to the next that is less deep."""
    steps: list[Step] = []
    failure = None
    while lines and _depth(lines[0]) >= depth:
        first, *rest = lines.pop(0).split()
        if first == "on-failure":
            failure = _step(rest[0], rest[1:], lines, depth, name)
        else:
            steps.append(_step(first, rest, lines, depth, name))
    return Plan(tuple(steps), "go-on" not in words, name, parallel, failure)


def _step(name: str, words: list[str], lines: list[str], depth: int, path: str) -> Step:
    """One node a line; what belongs to it are the deeper lines below its own."""
    options = _options(words)
    needs = tuple(filter(None, options.get("after", "").split(",")))
    if "array" in words:
        item = [word for word in words if word != "array" and not word.startswith("after=")]
        return Step(name, needs, array=_array(_step(name, item, lines, depth, path), words, options))
    kind = next((word for word in words if word in ("inside", "launch", "dynamic")), "")
    below = _plan(lines, f"{path}.{name}", words, depth + 1) if kind else None
    gate = None
    if options.keys() & {"approve", "signal", "sleep"}:
        sleep = round(float(options["sleep"]) * 1e6) if "sleep" in options else None
        gate = Gate(options.get("approve", ""), options.get("signal", ""), sleep)
    branch = _branch(lines, depth + 1, path) if "branch" in words else None
    return Step(
        name,
        needs,
        retries=int(options.get("retries", 0)),
        inside=below if kind == "inside" else None,
        launch=below if kind == "launch" else None,
        dynamic=below if kind == "dynamic" else None,
        branch=branch,
        gate=gate,
        cache=options.get("cache", ""),
        serialized="serialized" in words,
        timeout_us=round(float(options.get("timeout", 0)) * 1e6),
        backoff=options.get("backoff", ""),
    )


def _array(item: Step, words: list[str], options: dict[str, str]) -> Array:
    return Array(
        item,
        {list_: [int(one) for one in options[list_].split(",") if one] for list_ in ("x", "z") if list_ in options},
        sliced="sliced" in words,
        parallelism=int(options.get("at-once", 0)),
        ratio=float(options["ratio"]) if "ratio" in options else None,
        successes=int(options["successes"]) if "successes" in options else None,
        run_all="run-all" in words,
    )


def _branch(lines: list[str], depth: int, path: str) -> Branch:
    arms: list[Arm] = []
    error = None
    while lines and _depth(lines[0]) >= depth:
        first, *rest = lines.pop(0).split()
        if first == "error":
            error = " ".join(rest)
            continue
        step = _step(rest[0], rest[1:], lines, depth, path)
        compared = re.fullmatch(r"if([=!<>]+)(-?\d+)", first)
        arms.append(Arm(step, compared[1], int(compared[2])) if compared else Arm(step))
    return Branch(tuple(arms), error)


def _depth(line: str) -> int:
    return (len(line) - len(line.lstrip())) // 4


def _outputs(node_id: str, what: str) -> Data:
    if what == "large":
        return Data.at(f"blob:/{node_id}", len(_large()))
    literals = literals_pb2.LiteralMap()
    literals.literals["o"].CopyFrom(_literal(what))
    return Data.of(literals.SerializeToString())


def _literal(what: str) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    if what == "none":
        literal.scalar.none_type.SetInParent()
    elif what.startswith("union:"):
        literal.scalar.union.value.CopyFrom(_literal(what.removeprefix("union:")))
    elif what.startswith("text:"):
        literal.scalar.primitive.string_value = what.removeprefix("text:")
    else:
        literal.scalar.primitive.integer = int(what)
    return literal


def _signal(what: str) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    if what in ("yes", "no"):
        literal.scalar.primitive.boolean = what == "yes"
        return literal
    return _literal(what)


def _large() -> bytes:
    literals = literals_pb2.LiteralMap()
    literals.literals["o"].scalar.primitive.string_value = "x" * INLINE_LIMIT_BYTES
    return bytes(literals.SerializeToString())


def _blob(uri: str, readable: bool, corrupt: bool) -> m.BlobRead:
    if not readable:
        return m.BlobRead(uri, None, f"{uri} does not exist")
    return m.BlobRead(uri, b"\xff" if corrupt else _large())


# ---------------------------------------------------------------------------------------------------- transcripts


class _Rows:
    """The rows of an execution at one moment."""

    def __init__(self, it: World) -> None:
        self.execution: ExecutionState = replace(it.state)
        self.nodes: dict[str, NodeState] = dict(it.nodes)
        self.attempts: dict[tuple[str, int], AttemptState] = dict(it.attempts)


def _told(before: _Rows, after: _Rows, turn: Turn, now_us: int) -> Iterator[str]:
    if after.execution.phase is not before.execution.phase:
        yield f"execution {before.execution.phase.name} -> {after.execution.phase.name}{_error(after.execution.error)}"
    for node_id, node in sorted(after.nodes.items()):
        old = before.nodes.get(node_id)
        was = "WAITING" if old is None else old.phase.name
        if was != node.phase.name:
            yield f"node {node_id} {was} -> {node.phase.name}{_error(node.error)}"
        if _cached(node) != (_cached(old) if old else ""):
            yield f"cache of {node_id}: {_cached(node)}"
    for (node_id, number), attempt in sorted(after.attempts.items()):
        earlier = before.attempts.get((node_id, number))
        if earlier is None or earlier.phase is not attempt.phase:
            was = "" if earlier is None else f" {earlier.phase.name} ->"
            yield f"attempt {node_id}/{number}{was} {attempt.phase.name}{_error(attempt.error)}"
    wake = after.execution.next_wake_at_us
    if wake != before.execution.next_wake_at_us and wake is not None:
        yield f"wakes in {(wake - now_us) / 1e6:.2f}s"
    for node_id, node in sorted(after.nodes.items()):
        old = before.nodes.get(node_id)
        if node.items is not None and node.outputs is not None and (old is None or old.outputs is None):
            yield f"outputs of {node_id} {_shown(node.outputs)}"
    if after.execution.outputs is not None and before.execution.outputs is None:
        yield f"outputs {_shown(after.execution.outputs)}"
    for child in turn.changes.children:
        recovers = " and recover" if child.recovers_key is not None else ""
        yield f"launch {child.launch_plan.name} for {child.parent_node_id} with {_shown(child.inputs)}{recovers}"
    for signal in turn.changes.signals:
        yield f"await signal {signal.id}"
    for entry in turn.changes.cached:
        yield f"cache {_shown(entry.outputs)} for {entry.node_id}"
    for reservation in turn.changes.released:
        yield f"free what {reservation.node_id} computes"
    for below in turn.changes.aborts:
        whom = "everything below" if below.child_key is None else f"the child of {_launcher(after, below.child_key)}"
        yield f"abort {whom}: {below.cause}"
    yield from filter(None, map(_wish, turn.commands))


def _launcher(rows: _Rows, child_key: int) -> str:
    return next(node.id for node in rows.nodes.values() if node.child_key == child_key)


def _cached(node: NodeState) -> str:
    if node.cache_key is None:
        return ""
    reservation = node.reservation.name if node.reservation else ""
    return " ".join(filter(None, [node.cache_status.name, reservation]))


def _error(error: bytes | None) -> str:
    if error is None:
        return ""
    parsed = execution_pb2.ExecutionError.FromString(error)
    kind = execution_pb2.ExecutionError.ErrorKind.Name(parsed.kind)
    return f": {kind} {parsed.code}: {parsed.message}"


def _shown(data: Data) -> str:
    if data.uri is not None:
        return f"at {data.uri}"
    literals = literals_pb2.LiteralMap.FromString(data.inline or b"").literals
    return ", ".join(f"{name}={_value(literal)}" for name, literal in sorted(literals.items()))


def _value(literal: literals_pb2.Literal) -> str:
    if literal.HasField("collection"):
        return f"[{', '.join(map(_value, literal.collection.literals))}]"
    text = literal.scalar.primitive.string_value
    if text or literal.scalar.HasField("none_type"):
        return f"{len(text)} characters" if text else "none"
    return str(literal.scalar.primitive.integer)


def _wish(command: m.Command) -> str:
    if isinstance(command, m.AttendBelow | m.AttendChild):
        return ""  # follows from the rows
    if isinstance(command, m.LookUpChild):
        return f"look up the child of {command.node_id}"
    if isinstance(command, m.LookUpCache):
        return f"look up the cache for {command.node_id}{' and reserve' if command.reserve else ''}"
    if isinstance(command, m.ReadBlob):
        return f"read {command.uri}"
    if isinstance(command, m.WriteBlob):
        return f"write {command.role} of {command.node_id}"
    if isinstance(command, m.End):
        return f"end {command.phase.name}"
    name = "release" if isinstance(command, m.AttemptEnded) else type(command).__name__.lower()
    whose = f" of {command.executor}" if isinstance(command, m.Disown) else ""
    return f"{name} {command.node_id}/{command.attempt}{whose}"


def rewritten(scenario: str) -> str:
    """The scenario with the answers that the machine gives now."""
    interpreter = Interpreter()
    told = (f"{block.text}\n----\n{interpreter.play(block.text)}\n" for block in blocks(scenario))
    return introduction(scenario) + "\n".join(told)


__all__ = ["Block", "Interpreter", "blocks", "rewritten"]
