"""What users ask of this engine in fields that Flyte leaves to whoever runs it: keys that begin with `airscrew/`.

    key                      where                                            value
    airscrew/retry.backoff   `config` of a task                               pause before its second attempt: `5s`
    airscrew/reuse           `config` of a task                               its process runs many tasks: `true`
    airscrew/warm            `config` of a task                               never forked from a warm process: `false`
    airscrew/deadline        `annotations` of an execution or a launch plan   time for an execution: `1h30m`

What is spelled otherwise is refused, and so is a value that is no duration, or neither `true` nor `false`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from libs.workflow.durations import duration_us
from libs.workflow.errors import InvalidArgument
from libs.workflow.retry import USER_BACKOFF_CAP_US

PREFIX: Final = "airscrew/"
RETRY_BACKOFF: Final = PREFIX + "retry.backoff"
REUSE: Final = PREFIX + "reuse"
WARM: Final = PREFIX + "warm"
DEADLINE: Final = PREFIX + "deadline"

_OF_TASKS: Final = (RETRY_BACKOFF, REUSE, WARM)


def retry_backoff_us(config: Mapping[str, str], field: str) -> int:
    """The pause that a task's config asks for, or 0. Raises InvalidArgument naming the field."""
    _refuse_unknown(config, field, _OF_TASKS)
    if RETRY_BACKOFF not in config:
        return 0
    return duration_us(config[RETRY_BACKOFF], f"{field}[{RETRY_BACKOFF}]", USER_BACKOFF_CAP_US)


def deadline_us(annotations: Mapping[str, str], field: str) -> int:
    """The time that an execution has from its start, or 0 for any. Raises InvalidArgument naming the field."""
    _refuse_unknown(annotations, field, (DEADLINE,))
    return duration_us(annotations[DEADLINE], f"{field}[{DEADLINE}]") if DEADLINE in annotations else 0


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """What kind of process a task may run in."""

    warm: bool = True
    """Forked from one that has imported flytekit and the task's module."""
    reuse: bool = False
    """Kept for other tasks of the same code."""


def process(config: Mapping[str, str], field: str) -> ProcessOptions:
    """What a task's config says of its process. Raises InvalidArgument naming the field."""
    options = ProcessOptions(_flag(config, WARM, True, field), _flag(config, REUSE, False, field))
    if options.reuse and not options.warm:
        raise InvalidArgument(f"{field}[{REUSE}]: a process that is not warm is not kept ({WARM} is false)")
    return options


def _flag(config: Mapping[str, str], key: str, default: bool, field: str) -> bool:
    value = config.get(key, "true" if default else "false")
    if value not in ("true", "false"):
        raise InvalidArgument(f"{field}[{key}]: {value!r} is neither 'true' nor 'false'")
    return value == "true"


def _refuse_unknown(keys: Iterable[str], field: str, known: tuple[str, ...]) -> None:
    for key in sorted(keys):
        if key.startswith(PREFIX) and key not in known:
            raise InvalidArgument(f"{field}[{key}]: there is no such option, only {', '.join(known)}")
