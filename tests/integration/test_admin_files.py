"""Uploads and downloads over real HTTP: only what was signed, only while it is valid, only if the content is right."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from libs import blob
from libs.blob import BlobStore
from libs.runtime.clock import SystemClock
from services.admin import web
from services.admin.signing import Grant, Signer, Verb

KEY = b"a key of at least sixteen bytes"
CONTENT = b"print('hello')\n" * 1000
MD5 = hashlib.md5(CONTENT).digest()
LIMIT = 64 * 1024
LATER = 2**53


class Http:
    """A served directory and a client."""

    def __init__(self, store: BlobStore, signer: Signer, session: aiohttp.ClientSession) -> None:
        self.store = store
        self.signer = signer
        self.session = session

    def url(self, verb: Verb, path: str = "uploads/p/d/f/code.tar.gz", expires: int = LATER, md5: bytes = b"") -> str:
        return self.signer.url(Grant(verb, path, expires, md5))

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url(Verb.READ).split("/")[2].rpartition(":")
        return host, int(port)

    async def put(self, url: str, content: bytes = CONTENT, **headers: str) -> tuple[int, str]:
        async with self.session.put(url, data=content, headers=headers) as reply:
            return reply.status, await reply.text()

    async def get(self, url: str, **headers: str) -> tuple[int, bytes]:
        async with self.session.get(url, headers=headers) as reply:
            return reply.status, await reply.read()


@pytest_asyncio.fixture
async def http(tmp_path: Path) -> AsyncIterator[Http]:
    store = blob.open(str(tmp_path / "blobs"))
    bound = web.bind("127.0.0.1:0")
    signer = Signer(KEY, f"http://{web.address_of(bound, '127.0.0.1:0')}")
    runner = await web.serve(web.Files(store, signer, SystemClock(), upload_bytes=LIMIT, uploads=2), bound)
    async with aiohttp.ClientSession() as session:
        yield Http(store, signer, session)
    await runner.cleanup()


def stored(http: Http) -> list[Path]:
    return [path for path in Path(http.store.root).rglob("*") if path.is_file()]


async def test_an_upload_lies_in_the_store_and_can_be_downloaded(http: Http) -> None:
    header = base64.b64encode(MD5).decode()
    assert await http.put(http.url(Verb.WRITE, md5=MD5), **{"Content-MD5": header}) == (200, "")
    assert await http.get(http.url(Verb.READ)) == (200, CONTENT)
    assert [path.name for path in stored(http)] == ["code.tar.gz"]


async def test_a_name_with_spaces_and_letters_of_the_world_comes_back(http: Http) -> None:
    path = "uploads/p/d/f/Höhen & Tiefen (1)+2 %41.csv"
    assert (await http.put(http.url(Verb.WRITE, path)))[0] == 200
    assert await http.store.read(http.store.join(path)) == CONTENT
    assert await http.get(http.url(Verb.READ, path)) == (200, CONTENT)


@pytest.mark.parametrize(
    ("start", "stop", "headers"),
    [(0, 10, "bytes=0-9"), (5, len(CONTENT), "bytes=5-"), (len(CONTENT) - 7, len(CONTENT), "bytes=-7")],
)
async def test_a_part_can_be_asked_for(http: Http, start: int, stop: int, headers: str) -> None:
    await http.put(http.url(Verb.WRITE))
    assert await http.get(http.url(Verb.READ), Range=headers) == (206, CONTENT[start:stop])


async def test_a_part_beyond_the_end_is_refused(http: Http) -> None:
    await http.put(http.url(Verb.WRITE))
    assert (await http.get(http.url(Verb.READ), Range=f"bytes={len(CONTENT)}-"))[0] == 416


async def test_the_size_can_be_asked_for_without_the_content(http: Http) -> None:
    await http.put(http.url(Verb.WRITE))
    async with http.session.head(http.url(Verb.READ)) as reply:
        assert (reply.status, reply.content_length) == (200, len(CONTENT))


async def test_an_empty_file_is_a_file(http: Http) -> None:
    assert (await http.put(http.url(Verb.WRITE, md5=hashlib.md5(b"").digest()), b""))[0] == 200
    assert await http.get(http.url(Verb.READ)) == (200, b"")


async def test_content_with_another_md5_than_signed_is_refused(http: Http) -> None:
    status, reason = await http.put(http.url(Verb.WRITE, md5=MD5), CONTENT + b"!")
    assert status == 400
    assert reason.startswith("content_md5: ")
    assert stored(http) == []


@pytest.mark.parametrize("header", ["AAAAAAAAAAAAAAAAAAAAAA==", "not base64"])
async def test_content_with_another_md5_than_its_header_is_refused(http: Http, header: str) -> None:
    status, reason = await http.put(http.url(Verb.WRITE), **{"Content-MD5": header})
    assert status == 400
    assert reason.startswith("Content-MD5: ")
    assert stored(http) == []


async def test_an_expired_address_is_forbidden(http: Http) -> None:
    status, reason = await http.put(http.url(Verb.WRITE, expires=1))
    assert status == 403
    assert "expired" in reason
    assert stored(http) == []


@pytest.mark.parametrize(("old", "new"), [("code", "mode"), ("expires=", "expires=1"), ("signature=", "signature=x")])
async def test_a_tampered_address_is_forbidden(http: Http, old: str, new: str) -> None:
    assert (await http.put(http.url(Verb.WRITE).replace(old, new)))[0] == 403
    assert stored(http) == []


async def test_reading_and_writing_need_addresses_of_their_own(http: Http) -> None:
    assert (await http.put(http.url(Verb.READ)))[0] == 403
    await http.put(http.url(Verb.WRITE))
    assert (await http.get(http.url(Verb.WRITE)))[0] == 403


async def test_a_file_that_is_too_large_is_refused_before_it_is_read(http: Http) -> None:
    status, reason = await http.put(http.url(Verb.WRITE), bytes(LIMIT + 1))
    assert status == 413
    assert "Content-Length" in reason
    assert stored(http) == []


async def test_an_upload_without_a_length_is_refused(http: Http) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield CONTENT

    async with http.session.put(http.url(Verb.WRITE), data=pieces()) as reply:
        assert reply.status == 411
    assert stored(http) == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_packed_content_is_refused_before_it_is_unpacked(http: Http, encoding: str) -> None:
    sent = http.session.put(http.url(Verb.WRITE), data=b"no", headers={"Content-Encoding": encoding}, compress=False)
    async with sent as reply:
        assert (reply.status, await reply.text()) == (415, "Content-Encoding: files are taken as they are")
    assert stored(http) == []


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Encoding: br\r\n\r\nno",
        b"\x00\xff\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_and_leaves_no_trace_in_the_log(
    http: Http, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection(*http.address)
    writer.write(sent)
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert caplog.records == []


async def test_an_upload_that_breaks_off_leaves_nothing(http: Http, caplog: pytest.LogCaptureFixture) -> None:
    path = http.url(Verb.WRITE).partition("//")[2].partition("/")[2]
    _, writer = await asyncio.open_connection(*http.address)
    writer.write(f"PUT /{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    # The next upload finds its place free, although there are only two.
    for _ in range(3):
        assert (await http.put(http.url(Verb.WRITE, "uploads/p/d/f/next")))[0] == 200
    assert [path.name for path in stored(http)] == ["next"]
    assert caplog.records == []


async def test_a_file_that_does_not_exist_is_not_found(http: Http) -> None:
    assert (await http.get(http.url(Verb.READ, "uploads/p/d/f/nothing")))[0] == 404


async def test_a_path_out_of_the_store_is_refused_even_when_signed(http: Http) -> None:
    assert (await http.get(http.url(Verb.READ, "uploads/..%2f..%2fetc/passwd")))[0] in (400, 403, 404)


async def test_a_deck_cannot_act_as_a_page_of_this_site(http: Http) -> None:
    await http.put(http.url(Verb.WRITE, "metadata/deck.html"))
    async with http.session.get(http.url(Verb.READ, "metadata/deck.html")) as reply:
        assert reply.content_type == "text/html"
        assert "sandbox" in reply.headers["Content-Security-Policy"]
