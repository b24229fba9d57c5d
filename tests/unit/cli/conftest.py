from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin


@pytest.fixture
def airscrew(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdmin]:
    with FakeAdmin() as fake:
        monkeypatch.setenv("AIRSCREW_ENDPOINT", fake.endpoint)
        yield fake
