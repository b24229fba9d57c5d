"""Echo tasks: the executor answers them itself, with their inputs as outputs. No process, no directory, no log.

Which input becomes which output: names differ (flytekit calls outputs `o0`, `o1`, …), and the order in which inputs
were declared is not part of an interface. So they are paired in the order of their names, an input with the first
output of its type that is still free, or, where none has just that type, with the first that takes it. Two inputs of
one type therefore come out in the order of their names, whatever order they were written in.

One that takes no time, with its inputs in the assignment, is answered while the assignment is read: it is never under
way, so nothing of it is worth a task, a slot, a report that it runs, or a place on the disk. Its only report is kept in
memory until it is acknowledged. Should the executor die before that, the leader takes the attempt for lost and begins
another one, as with any that had not come to its end, and nothing had been done that could be done twice (P4, P5).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

from flyteidl.core import interface_pb2, literals_pb2, tasks_pb2, types_pb2
from google.protobuf.message import DecodeError

from libs.blob import layout
from libs.runtime import together
from libs.runtime.clock import Clock
from libs.wire.session import Assignment, Report, ReportPhase
from libs.workflow import errors
from libs.workflow.state import Data
from libs.workflow.types import assignable
from services.executor import outcome
from services.executor.attempt import Attempt
from services.executor.outcome import Outcome
from services.executor.settings import ExecutorSettings


class EchoAttempt(Attempt):
    """Answers after the time that the settings give; at once, usually."""

    async def _work(self) -> Outcome:
        alarm = self._begun(self._bench.clock.now_us())
        try:
            return await together.unless(self._wished, "echo", self._answer())
        except together.Interrupted:
            return self._wish or outcome.aborted("")
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)
        finally:
            self._ended = True
            if alarm is not None:
                alarm.cancel()

    def _obey_wish(self) -> None:
        """Nothing runs but a wait, which ends by itself."""

    async def clean_up(self) -> None:
        """There is nothing."""

    async def _answer(self) -> Outcome:
        names = pairs(self._template.interface)
        await asyncio.sleep(self._bench.settings.echo_seconds)
        serialized = echoed(names, await self._inputs()).SerializeToString(deterministic=True)
        if len(serialized) <= self._assignment.inline_limit:
            return Outcome(ReportPhase.SUCCEEDED, outputs=Data.of(serialized))
        uri = f"{self._assignment.output_prefix.rstrip('/')}/{layout.OUTPUTS}"
        await self._bench.storage.write(uri, serialized)
        return Outcome(ReportPhase.SUCCEEDED, outputs=Data.at(uri, len(serialized)))


class Echoes:
    """Answers at once what can be answered at once."""

    def __init__(self, settings: ExecutorSettings, clock: Clock) -> None:
        self._immediate = not settings.echo_seconds
        self._clock = clock
        self._pairs: dict[bytes, dict[str, str]] = {}
        """By digest of the task template."""

    def forget(self) -> None:
        """Templates are sent anew."""
        self._pairs.clear()

    def answer(self, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> Report | None:
        """The attempt's only report; None when it has to be waited for, or something is the matter with it."""
        data = assignment.inputs.inline
        if not self._immediate or data is None:
            return None
        try:
            names = self._pairs.get(assignment.spec_digest)
            if names is None:
                names = self._pairs[assignment.spec_digest] = pairs(template.interface)
            inputs = literals_pb2.LiteralMap.FromString(data).literals
            outputs = echoed(names, inputs).SerializeToString(deterministic=True)
        except (errors.AirscrewError, DecodeError):
            return None  # whoever runs it in earnest says what
        if len(outputs) > assignment.inline_limit:
            return None
        now_us = self._clock.now_us()
        return Report(
            assignment.id,
            1,
            ReportPhase.SUCCEEDED,
            now_us,
            outputs=Data.of(outputs),
            started_us=now_us,
            shard=assignment.shard,
        )


def echoed(names: Mapping[str, str], inputs: Mapping[str, literals_pb2.Literal]) -> literals_pb2.LiteralMap:
    """The outputs. Raises InvalidArgument for an input that has no value."""
    for name in names:
        if name not in inputs:
            raise errors.InvalidArgument(f"inputs: {name!r} has no value that could be echoed")
    return literals_pb2.LiteralMap(literals={output: inputs[name] for name, output in names.items()})


def pairs(interface: interface_pb2.TypedInterface) -> dict[str, str]:
    """Input → output. Raises InvalidArgument when they do not match."""
    inputs, outputs = interface.inputs.variables, interface.outputs.variables
    if len(inputs) != len(outputs):
        raise errors.InvalidArgument(
            f"interface: an echo task has as many outputs as inputs, not {len(outputs)} for {len(inputs)}"
        )
    free = sorted(outputs, key=_by_number)
    paired: dict[str, str] = {}
    # Those that fit exactly first: a union that comes early must not take what only one input could have.
    for fits in (_same, assignable):
        for name in sorted(inputs, key=_by_number):
            if name not in paired and (found := _first(free, outputs, inputs[name].type, fits)) is not None:
                paired[name] = found
                free.remove(found)
    if left := [name for name in inputs if name not in paired]:
        raise errors.InvalidArgument(f"interface.inputs.{min(left)}: no output is left that has its type")
    return paired


def _first(
    free: list[str],
    outputs: Mapping[str, interface_pb2.Variable],
    wanted: types_pb2.LiteralType,
    fits: Callable[[types_pb2.LiteralType, types_pb2.LiteralType], bool],
) -> str | None:
    return next((name for name in free if fits(wanted, outputs[name].type)), None)


def _same(one: types_pb2.LiteralType, other: types_pb2.LiteralType) -> bool:
    return bool(one == other)


def _by_number(name: str) -> tuple[tuple[str, int], ...]:
    """Sorts `o2` before `o10`."""
    return tuple((text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name))
