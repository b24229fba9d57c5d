"""One line a record on stderr, as JSON for machines or as text for people, with what it is about in every line.

Code logs through the standard library (`logging.getLogger(__name__)`). Around the handling of something, `bind` names
it once, and each record below, in this task and in tasks that it starts, carries the fields:

    with logs.bind(execution="p:d:name", node="n0", attempt=0, trace_id=ctx.trace_id, span_id=ctx.span_id):
        logger.info("dispatched", extra={"executor": executor})

Fields of `extra` go into the line too. Numbers under `trace_id` and `span_id` are written as OpenTelemetry writes them,
in hexadecimal, so that a line can be found from its trace.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("json", "text")

_HEX_DIGITS: Final = {"trace_id": 32, "span_id": 16}
_STANDARD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_bound: ContextVar[Mapping[str, object]] = ContextVar("airscrew_log_fields", default=_NOTHING)


def configure(service: str, level: str = "info", format: str = "json", others: Iterable[logging.Handler] = ()) -> None:
    """Sends every record of `level` and above to stderr, and to `others`.

    Raises ValueError for an unknown level or format.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(LEVELS)}")
    if format not in FORMATS:
        raise ValueError(f"log format {format!r} is none of {', '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(service) if format == "json" else _TextFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler, *others], force=True)


@contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Adds `fields` to every record that is logged inside the block; None takes a field away."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bound() -> Mapping[str, object]:
    """The fields that a record would carry now."""
    return {name: _shown(name, value) for name, value in _bound.get().items() if value is not None}


def _shown(name: str, value: object) -> object:
    if name in _HEX_DIGITS and isinstance(value, int):
        return f"{value:0{_HEX_DIGITS[name]}x}"
    return value


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What a record carries beside its message: what is bound, and its `extra`."""
    extra = {name: _shown(name, value) for name, value in record.__dict__.items() if name not in _STANDARD_ATTRIBUTES}
    return {**bound(), **extra}


class _JsonFormatter(logging.Formatter):
    """`{"time": …, "level": …, "service": …, "logger": …, "message": …, <fields>, "exception": …}`"""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    """`12:34:56.789 warning propeller: message  node=n0 attempt=1`, times in the machine's zone."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        told = " ".join(f"{name}={value}" for name, value in fields(record).items())
        line = f"{moment} {record.levelname.lower():7} {self._service}: {record.getMessage()}"
        if told:
            line += f"  {told}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
