"""Whose socket it is, asked of the kernel and looked up in its tables."""

from __future__ import annotations

import os
import socket

import pytest

from tests.chaos import sockets


@pytest.mark.parametrize("asked", [True, False])
def test_the_owner_of_a_connection_is_found(monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    if not asked:
        monkeypatch.setattr(sockets, "_asked", lambda local, remote: None)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as mine:
        ends = mine.getsockname(), mine.getpeername()
        assert sockets.owner(*ends, {"init": 1, "me": os.getpid()}) == "me"
        assert sockets.owner(*ends, {"init": 1}) == ""


def test_a_connection_that_is_over_is_nobodys() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = socket.create_connection(server.getsockname())
        ends = mine.getsockname(), mine.getpeername()
        mine.close()
        assert sockets.owner(*ends, {"me": os.getpid()}) == ""
