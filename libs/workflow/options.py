"""What users ask of this engine in fields that Flyte leaves to whoever runs it: keys that begin with `airscrew/`.

    key                      where                                            value
    airscrew/retry.backoff   `config` of a task                               pause before its second attempt: `5s`
    airscrew/deadline        `annotations` of an execution or a launch plan   time for an execution: `1h30m`

What is spelled otherwise is refused, and so is a value that is no duration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from libs.workflow.durations import duration_us
from libs.workflow.errors import InvalidArgument
from libs.workflow.retry import USER_BACKOFF_CAP_US

PREFIX: Final = "airscrew/"
RETRY_BACKOFF: Final = PREFIX + "retry.backoff"
DEADLINE: Final = PREFIX + "deadline"


def retry_backoff_us(config: Mapping[str, str], field: str) -> int:
    """The pause that a task's config asks for, or 0. Raises InvalidArgument naming the field."""
    _refuse_unknown(config, field, RETRY_BACKOFF)
    if RETRY_BACKOFF not in config:
        return 0
    return duration_us(config[RETRY_BACKOFF], f"{field}[{RETRY_BACKOFF}]", USER_BACKOFF_CAP_US)


def deadline_us(annotations: Mapping[str, str], field: str) -> int:
    """The time that an execution has from its start, or 0 for any. Raises InvalidArgument naming the field."""
    _refuse_unknown(annotations, field, DEADLINE)
    return duration_us(annotations[DEADLINE], f"{field}[{DEADLINE}]") if DEADLINE in annotations else 0


def _refuse_unknown(keys: Iterable[str], field: str, known: str) -> None:
    for key in sorted(keys):
        if key.startswith(PREFIX) and key != known:
            raise InvalidArgument(f"{field}[{key}]: there is no such option, only {known}")
