"""What a process says to whoever runs it, as sd_notify(3) has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.runtime import readiness


@pytest.fixture(params=["a file", "a name of the kernel's"])
def ear(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
        ear.bind("" if request.param != "a file" else str(tmp_path / "notify"))
        name = ear.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", name if isinstance(name, str) else "@" + name[1:].decode())
        yield ear


def test_it_is_told_once_and_the_socket_is_not_left_to_children(ear: socket.socket) -> None:
    readiness.tell()
    readiness.tell()

    assert ear.recv(100) == b"READY=1"
    with pytest.raises(BlockingIOError):
        ear.recv(100)
    assert "NOTIFY_SOCKET" not in os.environ


def test_nobody_is_told_where_nobody_wants_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    readiness.tell()


def test_a_process_whose_supervisor_is_gone_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))

    readiness.tell()

    assert f"NOTIFY_SOCKET={tmp_path}/gone cannot be told" in caplog.text
