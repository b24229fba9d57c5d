"""Log lines carry what they are about, for machines and for people."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from libs.telemetry import logs

logger = logging.getLogger("services.example")


@pytest.fixture(autouse=True)
def restored_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_service_logger_and_bound_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("queue")
    with logs.bind(execution="p:d:x", trace_id=0xAB, span_id=0xCD), logs.bind(node="n0"):
        logger.info("leased %d", 3, extra={"shard": 0})
    logger.info("done")
    first, second = lines(capsys)
    assert first.pop("time")
    assert first == {
        "level": "info",
        "service": "queue",
        "logger": "services.example",
        "message": "leased 3",
        "execution": "p:d:x",
        "trace_id": "000000000000000000000000000000ab",
        "span_id": "00000000000000cd",
        "node": "n0",
        "shard": 0,
    }
    assert "node" not in second


def test_an_exception_comes_with_its_traceback_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("queue")
    try:
        raise ValueError("boom")
    except ValueError:
        logger.exception("failed")
    (line,) = lines(capsys)
    assert "ValueError: boom" in str(line["exception"])


async def test_a_task_inherits_the_fields_of_whoever_started_it() -> None:
    async def work() -> object:
        return logs.bound()

    with logs.bind(node="n0"):
        task = asyncio.create_task(work())
    assert await task == {"node": "n0"}
    assert logs.bound() == {}


def test_text_is_one_readable_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("queue", "warning", "text")
    logger.info("hidden")
    with logs.bind(node="n0", attempt=None):
        logger.warning("slow")
    assert capsys.readouterr().err.rstrip().endswith(" warning queue: slow  node=n0")


def test_unknown_levels_and_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="log level"):
        logs.configure("queue", "loud")
    with pytest.raises(ValueError, match="log format"):
        logs.configure("queue", "info", "xml")
