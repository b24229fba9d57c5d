"""Blobs wherever they lie, and stores that do not answer."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from libs.workflow import errors
from services.executor.copilot import places
from services.executor.copilot.__main__ import main
from services.executor.copilot.places import Places, all_of

CONTENT = bytes(range(200))


class Fragile:
    """A store that breaks off after some bytes, and does not answer the first calls."""

    def __init__(self, bytes_at_a_time: int = 50, silent_calls: int = 0) -> None:
        self.asked: list[int] = []
        self.written: list[str] = []
        self._bytes = bytes_at_a_time
        self._silent_calls = silent_calls

    async def stream(self, uri: str, offset: int = 0) -> AsyncIterator[bytes]:
        self.asked.append(offset)
        yield CONTENT[offset : offset + self._bytes]
        if offset + self._bytes < len(CONTENT):
            raise errors.Unavailable("the connection was lost")

    async def write(self, uri: str, data: bytes) -> None:
        if self._silent_calls:
            self._silent_calls -= 1
            raise errors.Unavailable("no answer")
        self.written.append(uri)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The roots of the stores that were opened."""
    roots: list[str] = []
    monkeypatch.setattr(places, "_AGAIN_SECONDS", (0.001, 0.002))
    return roots


def use(store: Any, monkeypatch: pytest.MonkeyPatch, roots: list[str]) -> None:
    def open(root: str) -> Any:
        roots.append(root)
        return store

    monkeypatch.setattr(places.blob, "open", open)


async def test_a_download_that_breaks_off_goes_on_where_it_was(
    opened: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Fragile()
    use(store, monkeypatch, opened)
    await Places(patience_seconds=60).download("s3://bucket/deep/key", tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT
    assert store.asked == [0, 50, 100, 150]
    assert opened == ["s3://bucket"]


async def test_a_store_that_does_not_answer_is_asked_again_for_a_while(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Fragile(silent_calls=3)
    use(store, monkeypatch, opened)
    await Places(patience_seconds=60).write("/blobs/a", b"")
    assert store.written == ["/blobs/a"]
    use(Fragile(silent_calls=1_000_000), monkeypatch, opened)
    with pytest.raises(errors.Unavailable, match="no answer"):
        await Places(patience_seconds=0.01).write("file:///blobs/a", b"")
    assert opened == ["/blobs", "/blobs"]


class Web(http.server.BaseHTTPRequestHandler):
    """Has one page, and breaks off in the middle of it unless it is asked for the rest."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range"))
        if self.path != "/a%20b?version=1":
            self.send_error(404)
            return
        offset = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if offset else 200)
        self.send_header("Content-Length", str(len(CONTENT) - offset))
        self.end_headers()
        self.wfile.write(CONTENT[offset:] if offset else CONTENT[:50])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web() -> Iterator[str]:
    Web.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_what_lies_in_the_web_is_fetched_and_goes_on_where_it_was(
    opened: list[str], web: str, tmp_path: Path
) -> None:
    await Places().download(f"{web}/a%20b?version=1", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert Web.asked == [None, "bytes=50-"]
    with pytest.raises(errors.NotFound, match="answers 404"):
        await Places().download(f"{web}/missing", tmp_path / "other")


async def test_a_few_go_at_once_and_a_failure_ends_the_rest() -> None:
    running, most, begun = 0, 0, 0

    async def transfer(number: int) -> None:
        nonlocal running, most, begun
        running, begun = running + 1, begun + 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        if number == 20:
            raise errors.NotFound("there is none")

    await all_of(transfer(number) for number in range(20))
    assert (most, begun) == (4, 20)
    with pytest.raises(errors.NotFound, match="there is none"):
        await all_of(transfer(number) for number in range(1000))
    assert begun < 60


def test_what_is_no_command_line_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["upload", "--interface", "?"])
    assert "--interface: is no interface" in capsys.readouterr().err
