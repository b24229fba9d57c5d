"""A connection to PostgreSQL that an event loop waits for itself.

To hand a statement to a thread and to hear of its answer costs an event loop 100 to 200 µs when nothing else is going
on, and the driver's own cursors take as long again for what a small statement needs none of. Here a statement is
prepared once and sent by libpq as one message, in binary form, and the loop hears of the answer as of any other
message. So that is for what is small and asked often; whatever needs several statements takes a thread.

Guaranteed: one statement is one transaction, and no wait is endless. After an error the outcome of a statement is
unknown unless it is the server that tells it, and the connection is given up, unless the error blames the values: the
next statement connects anew. The server may still be at work on what was given up.

A prepared statement is named by what it is, so that no name can stand for another one: behind a pooler that does not
keep its clients' names apart, a connection may meet what another one has prepared.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from struct import Struct
from struct import error as StructError
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from libs.store import rows
from libs.store.postgres import ANSWER_SECONDS, CONNECT_SECONDS
from libs.store.postgres_arrays import Array
from libs.workflow.errors import Refused

MOST_PREPARED: Final = 100
"""Statements that a connection keeps prepared; each takes the server some memory. What comes after is prepared anew
each time."""

LOOKS: Final = 32
"""How often a socket that has more is read before others have their turn on the loop: half a megabyte."""

_INT8: Final = 20
_pack_int8 = Struct("!q").pack
_BINARY: Final = pq.Format.BINARY
_GIVEN_UP: Final = "the connection was given up"
_DONE: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class LoopConnection:
    """Connects at the first statement. One statement at a time; everything on the loop's own thread."""

    def __init__(self, url: str, options: str) -> None:
        """`options` are those of the server's session, as libpq has them."""
        self._url = url
        self._options = options
        self._session: _Session | None = None
        self._drops = 0
        self.busy = False
        """Whether a statement is under way: no other may be asked for."""

    @property
    def connected(self) -> bool:
        return self._session is not None and not self._session.lost

    async def execute(self, statement: str, values: Sequence[Array | int]) -> list[rows.Row]:
        """What the statement, in the server's own spelling, answers. Raises psycopg.Error, TimeoutError and Refused.

        A caller that is cancelled leaves the outcome unknown, as one that gets no answer.
        """
        assert not self.busy
        parameters = _encoded(values)
        self.busy = True
        try:
            if not self.connected:
                self._session = await self._open()
            assert self._session is not None
            return await self._session.execute(statement, values, parameters)
        except (psycopg.DataError, psycopg.IntegrityError):
            raise
        except BaseException:
            self.drop()
            raise
        finally:
            self.busy = False

    def drop(self) -> None:
        """Gives up the connection, also one that is only being opened; the next statement opens another one."""
        self._drops += 1
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def _open(self) -> _Session:
        drops = self._drops
        session = await _Session.open(self._url, self._options)
        if drops != self._drops:
            session.close()
            raise psycopg.OperationalError(_GIVEN_UP)
        return session


class _Session:
    """One connection, from its beginning to its end."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.lost = False
        """Whether the server, or this side, has ended it."""
        self._connection = connection
        self._libpq = connection.pgconn
        self._socket = self._libpq.socket
        self._transformer = Transformer(connection)
        self._prepared: dict[str, bytes] = {}
        self._results: list[pq.abc.PGresult] = []
        self._answer: asyncio.Future[pq.abc.PGresult] | None = None
        self._came = 0.0
        """When the last of it came, or it was asked for, by the loop's clock."""
        self._deadline: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        # For its whole life: that of a server which goes away is heard before the next statement is sent to it.
        self._loop.add_reader(self._socket, self._receive)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    @classmethod
    async def open(cls, url: str, options: str) -> _Session:
        return cls(
            await psycopg.AsyncConnection.connect(
                url, autocommit=True, connect_timeout=CONNECT_SECONDS, options=options
            )
        )

    async def execute(
        self, statement: str, values: Sequence[Array | int], parameters: Sequence[bytes]
    ) -> list[rows.Row]:
        """`parameters` are the values in the wire's binary form."""
        name = self._prepared.get(statement)
        if name is None:
            name = await self._prepare(statement, [_INT8 if isinstance(value, int) else value.oid for value in values])
        formats = [_BINARY] * len(parameters)
        result = await self._ask(lambda: self._libpq.send_query_prepared(name, parameters, formats, _BINARY))
        self._transformer.set_pgresult(result, format=_BINARY)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    async def _prepare(self, statement: str, types: Sequence[int]) -> bytes:
        text = statement.encode()
        if len(self._prepared) == MOST_PREPARED:
            await self._ask(lambda: self._libpq.send_prepare(b"", text, types))
            return b""
        name = _name(text, types)
        # Where the server knows the name already, through a pooler, it stands for this very statement.
        with suppress(psycopg.errors.DuplicatePreparedStatement):
            await self._ask(lambda: self._libpq.send_prepare(name, text, types))
        self._prepared[statement] = name
        return name

    def close(self) -> None:
        self._lose(psycopg.OperationalError(_GIVEN_UP))

    async def _ask(self, send: Callable[[], None]) -> pq.abc.PGresult:
        """Sends a message and waits for its answer."""
        answer: asyncio.Future[pq.abc.PGresult] = self._loop.create_future()
        self._answer = answer
        self._came = self._loop.time()
        self._overdue()
        try:
            send()
            if self._libpq.flush():
                self._loop.add_writer(self._socket, self._send_more)
            result = await answer
        finally:
            self._answer = None
            if self._deadline is not None:
                self._deadline.cancel()
        if result.status not in _DONE:
            raise psycopg.errors.error_from_result(result)
        return result

    def _overdue(self) -> None:
        """Gives up when nothing has come for ANSWER_SECONDS. That a large answer takes a busy loop longer is no
        silence. (Loops look at sockets before timers: what came while one stood still has been read.)"""
        left = self._came + ANSWER_SECONDS - self._loop.time()
        if left > 0:
            self._deadline = self._loop.call_later(left, self._overdue)
        else:
            self._lose(TimeoutError("no answer from the server"))

    def _send_more(self) -> None:
        """As much as the socket takes; the loop calls again when it takes more."""
        try:
            if not self._libpq.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as error:
            self._lose(error)

    def _receive(self) -> None:
        self._came = self._loop.time()
        try:
            # A look takes some 16 kB, and a busy loop may come back late. uvloop even calls but once when a connection
            # breaks: had it left something to read, then only another look finds that nothing will follow.
            for _ in range(LOOKS):
                self._libpq.consume_input()
                if self._finished() or not self._more():
                    break
        except psycopg.OperationalError as error:
            self._lose(error)

    def _more(self) -> bool:
        """Whether something has come that is not read yet, be it only that nothing will follow."""
        return bool(self._poll.poll(0))

    def _finished(self) -> bool:
        """Takes what has come; returns whether that completes the answer."""
        libpq = self._libpq
        if self._answer is None:
            libpq.is_busy()  # takes notice of what the server says unasked
            return False
        while not libpq.is_busy():
            result = libpq.get_result()
            if result is not None:
                self._results.append(result)
                continue
            # The server has nothing more to say. It commits after it has answered: that this failed is a second answer.
            if self._results and not self._answer.done():
                self._answer.set_result(self._results[-1])
            self._results.clear()
            return True
        return False

    def _lose(self, error: Exception) -> None:
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._libpq.finish()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _encoded(values: Sequence[Array | int]) -> Sequence[bytes]:
    """In the wire's binary form. Raises Refused."""
    try:
        return [_pack_int8(value) if isinstance(value, int) else value.binary() for value in values]
    except StructError as error:
        raise Refused(f"the database cannot store a value: {error}") from error


def _name(text: bytes, types: Sequence[int]) -> bytes:
    return blake2b(b"%b %b" % (repr(types).encode(), text), digest_size=16).hexdigest().encode()
