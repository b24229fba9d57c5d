"""The HTTP side: takes uploads and gives downloads to whoever holds a signed address.

Everything that decides is elsewhere (`signing`, `uploads`); here is only HTTP. An upload is held in memory until its
length and MD5 are right and is then written at once, so that a file that exists is whole: nothing of a refused or
broken upload is ever stored. Only a few uploads are received at a time; the others wait at their connection, unread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from libs.blob import BlobStore
from libs.runtime.clock import Clock
from libs.workflow import errors
from services.admin.signing import Grant, Signer, Verb
from services.admin.uploads import check_content

_STATUS: tuple[tuple[type[errors.AirscrewError], int], ...] = (
    (errors.PermissionDenied, 403),
    (errors.InvalidArgument, 400),
    (errors.NotFound, 404),
    (errors.ResourceExhausted, 507),
    (errors.Unavailable, 503),
)
"""What the errors that can occur here are in HTTP. ResourceExhausted is a full disk; a file that is too large is
refused before it is read, as 413."""

_RECEIVE_SECONDS = 600
"""An upload that takes longer is given up, so that a stalled client does not keep its place."""

_STOP_SECONDS = 5.0
"""How long uploads and downloads that are under way may take when the process is stopped."""

logger = logging.getLogger(__name__)

_not_http = logging.getLogger(f"{__name__}.not_http")
_not_http.setLevel(logging.CRITICAL)  # anybody can send bytes that are no HTTP: they are answered, not logged

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Files:
    """Reads and writes files of the blob store over HTTP."""

    def __init__(
        self,
        blob: BlobStore,
        signer: Signer,
        clock: Clock,
        *,
        upload_bytes: int,
        uploads: int,
    ) -> None:
        self._blob = blob
        self._signer = signer
        self._clock = clock
        self._upload_bytes = upload_bytes
        self._places = asyncio.Semaphore(uploads)

    def application(self) -> web.Application:
        """The routes, for a runner."""
        application = web.Application(middlewares=[_answer_errors], client_max_size=self._upload_bytes)
        application.router.add_get("/data/{claims}/{path:.+}", self._download)
        application.router.add_put("/data/{claims}/{path:.+}", self._upload)
        return application

    async def _upload(self, request: web.Request) -> web.Response:
        grant = self._granted(request, Verb.WRITE)
        length = request.content_length
        if length is None:
            raise web.HTTPLengthRequired(text="Content-Length: missing")
        if length > self._upload_bytes:
            raise web.HTTPRequestEntityTooLarge(
                self._upload_bytes,
                length,
                text=f"Content-Length: {length} bytes, at most {self._upload_bytes} are taken",
            )
        if request.headers.get("Content-Encoding", "identity") != "identity":
            # Unpacked, it would have neither the length nor the MD5 that were announced.
            raise web.HTTPUnsupportedMediaType(text="Content-Encoding: files are taken as they are")
        async with self._places:
            async with asyncio.timeout(_RECEIVE_SECONDS):
                content = await request.read()
            check_content(content, grant.md5, request.headers.get("Content-MD5"))
            await self._blob.write(self._blob.join(grant.path), content)
        return web.Response(status=200)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        uri = self._blob.join(self._granted(request, Verb.READ).path)
        size = await self._blob.size(uri)
        if size is None:
            raise errors.NotFound("path: this file does not exist")
        start, stop = _range(request, size)
        response = web.StreamResponse(status=206 if (start, stop) != (0, size) else 200)
        response.content_type = "text/html" if uri.endswith(".html") else "application/octet-stream"
        response.content_length = stop - start
        response.headers["Accept-Ranges"] = "bytes"
        if response.status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        # Decks are written by users' tasks: a browser must not run them as part of whatever else this origin serves.
        response.headers["Content-Security-Policy"] = "sandbox allow-scripts"
        await response.prepare(request)
        if request.method != "HEAD":
            await self._send(response, uri, start, stop)
        return response

    async def _send(self, response: web.StreamResponse, uri: str, start: int, stop: int) -> None:
        left = stop - start
        with suppress(ConnectionResetError):  # the client has what it wanted, or has gone
            async for chunk in self._blob.stream(uri, start):
                await response.write(chunk[:left])
                left -= len(chunk)
                if left <= 0:
                    break
            await response.write_eof()

    def _granted(self, request: web.Request, verb: Verb) -> Grant:
        claims, path = request.match_info["claims"], request.match_info["path"]
        return self._signer.check(verb, claims, path, self._clock.now_us())


def _range(request: web.Request, size: int) -> tuple[int, int]:
    """The part of the file that is asked for, as a half-open interval; all of it by default."""
    try:
        start, stop, _ = request.http_range.indices(size)
    except ValueError:
        raise errors.InvalidArgument("Range: not understood") from None
    if request.http_range != slice(None, None, 1) and start >= stop:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, stop


@web.middleware
async def _answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.AirscrewError as error:
        status = next((number for kind, number in _STATUS if isinstance(error, kind)), 500)
        return web.Response(status=status, text=error.message)
    except TimeoutError:
        return web.Response(status=408, text="the upload took too long")
    except (ConnectionError, web.RequestPayloadError):
        return web.Response(status=400, text="the upload ended before its end")  # for nobody: the client has gone
    except web.HTTPException:
        raise
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return web.Response(status=500, text="internal error")


def bind(listen: str) -> socket.socket:
    """Takes the address `host:port` (port 0 picks one), so that signed addresses can name it before it is served."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise errors.Unavailable(f"cannot listen on {listen}: {error.strerror}") from error


def address_of(bound: socket.socket, listen: str) -> str:
    """The address that was asked for, with the port that it got."""
    return f"{listen.rpartition(':')[0]}:{bound.getsockname()[1]}"


async def serve(files: Files, bound: socket.socket) -> web.AppRunner:
    """Starts serving. The runner is to be cleaned up, which waits a little for what is under way."""
    runner = web.AppRunner(files.application(), access_log=None, logger=_not_http, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    await web.SockSite(runner, bound).start()
    return runner
