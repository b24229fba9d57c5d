"""The variables of Flyte's command lines: `{{ .input }}`, `{{$outputPrefix}}`, `{{.inputs.NAME}}` and their like.

Names are case-insensitive, blanks optional. What is no variable of ours stays as it is: flytekit treats some left-over
variables as absent. Values are put in once and not looked at again, so a value that looks like a variable stays text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

from flyteidl.core import literals_pb2
from google.protobuf import duration_pb2, timestamp_pb2

from libs.wire.session import Assignment
from libs.workflow import errors

_VARIABLE: Final = re.compile(r"\{\{\s*[.$]([\w.\-]+)\s*\}\}")
_INPUTS: Final = "inputs."
_NANOSECONDS: Final = 1_000_000_000

NO_CHECKPOINT: Final = '""'
"""What stands for the previous checkpoint of a first attempt: two quotes, which flytekit knows."""


def mentions(words: Iterable[str], name: str) -> bool:
    """Whether a word has the variable `name`, or, where it ends in a dot, any variable that starts so."""
    wanted = name.lower()
    for word in words:
        for piece in _variables(word):
            found = piece.name.lower()
            if found == wanted or (wanted.endswith(".") and found.startswith(wanted)):
                return True
    return False


def mentions_inputs(words: Iterable[str]) -> bool:
    """Whether a word has the value of an input, so that the inputs must be read to render it."""
    return mentions(words, _INPUTS)


def render(
    words: Iterable[str], variables: Mapping[str, str], inputs: Mapping[str, literals_pb2.Literal]
) -> tuple[str, ...]:
    """`words` with every variable replaced; keys of `variables` are lower case.

    Raises InvalidArgument for an input that does not exist or that has no text.
    """

    return tuple(_rendered(word, found, variables, inputs) if (found := _variables(word)) else word for word in words)


Inputs: TypeAlias = Mapping[str, literals_pb2.Literal]


class _Variable(NamedTuple):
    """One in a word."""

    name: str
    start: int
    end: int


@functools.lru_cache(maxsize=10_000)
def _variables(word: str) -> tuple[_Variable, ...]:
    """Remembered, for all attempts of a task have the same words."""
    return tuple(_Variable(match[1], *match.span()) for match in _VARIABLE.finditer(word))


def _rendered(
    word: str,
    found: tuple[_Variable, ...],
    variables: Mapping[str, str],
    inputs: Mapping[str, literals_pb2.Literal],
) -> str:
    pieces: list[str] = []
    at = 0
    for name, start, end in found:
        if name.lower().startswith(_INPUTS):
            value = _input(name[len(_INPUTS) :], inputs)
        else:
            value = variables.get(name.lower(), word[start:end])
        pieces += (word[at:start], value)
        at = end
    return "".join((*pieces, word[at:]))


def _input(name: str, inputs: Mapping[str, literals_pb2.Literal]) -> str:
    if name not in inputs:
        raise errors.InvalidArgument(f"the command line names input {name!r}, which does not exist")
    try:
        return text(inputs[name])
    except ValueError as error:
        raise errors.InvalidArgument(f"input {name!r} cannot be put into the command line: {error}") from None


def text(literal: literals_pb2.Literal) -> str:
    """A literal as Flyte writes it into a command line. Raises ValueError for what has no text."""
    if literal.WhichOneof("value") == "collection":
        return "[" + ",".join(text(each) for each in literal.collection.literals) + "]"
    if literal.WhichOneof("value") != "scalar":
        raise ValueError(f"a {literal.WhichOneof('value') or 'missing value'} has no text")
    scalar = literal.scalar
    match scalar.WhichOneof("value"):
        case "primitive":
            return _primitive(scalar.primitive)
        case "blob":
            return str(scalar.blob.uri)
        case "schema":
            return str(scalar.schema.uri)
        case kind:
            raise ValueError(f"a {kind or 'missing value'} has no text")


def _primitive(primitive: literals_pb2.Primitive) -> str:
    match primitive.WhichOneof("value"):
        case "integer":
            return str(primitive.integer)
        case "float_value":
            return _float(primitive.float_value)
        case "string_value":
            return str(primitive.string_value)
        case "boolean":
            return "true" if primitive.boolean else "false"
        case "datetime":
            return _datetime(primitive.datetime)
        case "duration":
            return _duration(primitive.duration)
        case _:
            raise ValueError("a primitive without value has no text")


def _float(number: float) -> str:
    """The shortest text that reads back equal; whole numbers without a point."""
    shown = repr(number).replace("inf", "+Inf").replace("-+", "-").replace("nan", "NaN")
    return shown.removesuffix(".0")


def _datetime(moment: timestamp_pb2.Timestamp) -> str:
    """RFC 3339 with as many digits of the second as are needed."""
    whole = datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{moment.nanos:09d}".rstrip("0").rstrip(".")
    return f"{whole}{fraction}Z"


def _duration(span: duration_pb2.Duration) -> str:
    """As Go writes it: `1h2m3.5s`, below a second `1.5ms`, `20µs` or `7ns`."""
    nanoseconds = span.seconds * _NANOSECONDS + span.nanos
    sign, nanoseconds = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1_000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * _NANOSECONDS)
    hours, minutes = divmod(minutes, 60)
    shown = f"{_decimal(rest, _NANOSECONDS)}s"
    if hours or minutes:
        shown = f"{minutes}m{shown}"
    return f"{sign}{hours}h{shown}" if hours else sign + shown


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".") if rest else str(whole)


def places(assignment: Assignment, inputs_uri: str) -> dict[str, str]:
    """The variables that say where an attempt's files are, and what it is called."""
    return {
        "input": inputs_uri,
        "inputprefix": inputs_uri.rpartition("/")[0],
        "outputprefix": assignment.output_prefix,
        "rawoutputdataprefix": assignment.raw_output_prefix,
        "checkpointoutputprefix": f"{assignment.raw_output_prefix.rstrip('/')}/_flytecheckpoints",
        "prevcheckpointprefix": assignment.previous_checkpoint or NO_CHECKPOINT,
        "perretryuniquekey": unique_key(assignment.name, assignment.id.node, assignment.id.attempt),
    }


def unique_key(execution: str, node: str, attempt: int) -> str:
    """Letters, digits and `_` only, starting with a letter: usable as a name nearly everywhere."""
    key = re.sub(r"[^a-zA-Z0-9]", "_", f"{execution}-{node}-{attempt}")
    return key if key[0].isalpha() else f"a{key[1:]}"
