"""What holds for every test: the product's environment variables are absent, and no asyncio task outlives its test."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

# A line for each module of tests/support that has fixtures.
pytest_plugins = [
    "tests.support.queue_server",  # before those that import it
    "tests.support.postgres",  # before those that import it
    "tests.support.admin",
    "tests.support.blob",
    "tests.support.database",
    "tests.support.etcd",
    "tests.support.executing",
    "tests.support.garbage",
    "tests.support.kube_apiserver",
    "tests.support.kubernetes_api",
    "tests.support.ledgers",
    "tests.support.pods",
    "tests.support.redis",
]

# What the developer has set for a running system must not reach the tests.
_PREFIXES = ("AIRSCREW_", "OTEL_", "FLYTE_", "FLYTECTL_", "TRACEPARENT", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
for _name in [name for name in os.environ if name.startswith(_PREFIXES) and not name.startswith("AIRSCREW_TEST_")]:
    del os.environ[_name]
os.environ["TERM"] = "xterm"  # not that of who looks on: CI has none, and then nothing is coloured

# How long what a test has cancelled may take to end.
_LEFTOVER_GRACE_SECONDS = 2.0


@pytest_asyncio.fixture
async def no_leftover_tasks() -> AsyncIterator[None]:
    """Fails a test that leaves asyncio tasks behind: a task without an owner is a bug."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=_LEFTOVER_GRACE_SECONDS)
    assert not left, f"tasks left behind: {sorted(task.get_name() for task in left)}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            # First in, last out: what the test's other fixtures started has been stopped by then.
            item.fixturenames.insert(0, "no_leftover_tasks")
