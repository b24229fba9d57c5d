"""Lines of a file or pipe as portions of a batch: read in a thread, so that who writes slowly holds nobody up.

What is there is handed on at once, in portions as large as may be; no more is read than is asked for. A line's place in
the batch is its number, so that the same file has the same places however it is cut.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from flyteidl.core import interface_pb2, literals_pb2

from libs.clients.bulk import Portion
from libs.workflow.errors import InvalidArgument
from libs.workflow.intake import inputs_of_json

PORTION: Final = 500
"""Lines that travel together."""

_READ_BYTES: Final = 256 * 1024

Refuse = Callable[[int, str], None]
"""Told the number of a line that means no inputs, and why; called in the loop's thread."""


class Lines:
    """Reads `source`, whose lines are JSON objects with a value for each input in `expected`."""

    def __init__(self, source: BinaryIO, expected: interface_pb2.ParameterMap, refuse: Refuse) -> None:
        self._source = source
        self._expected = expected
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self.portions: asyncio.Queue[Portion | None] = asyncio.Queue(2)
        self.failure: BaseException | None = None
        """What kept the source from being read to its end."""
        # A daemon: nothing can wake a thread that waits for somebody to type.
        self._thread = threading.Thread(target=self._read, name="lines", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for portion in self._portions():
                self._hand_on(portion)
        except RuntimeError:  # the loop has ended, and nobody wants more
            return
        except BaseException as error:
            self.failure = error
        self._hand_on(None)

    def _hand_on(self, portion: Portion | None) -> None:
        asyncio.run_coroutine_threadsafe(self.portions.put(portion), self._loop).result()

    def _portions(self) -> Iterator[Portion]:
        for first, lines in numbered(self._source):
            items: list[literals_pb2.LiteralMap] = []
            begun = first
            for number, line in enumerate(lines, first):
                inputs = self._inputs(number, line)
                if inputs is None:  # its place stays empty
                    if items:
                        yield Portion(begun - 1, items)
                    items, begun = [], number + 1
                else:
                    items.append(inputs)
            if items:
                yield Portion(begun - 1, items)

    def _inputs(self, number: int, line: bytes) -> literals_pb2.LiteralMap | None:
        if not line.strip():
            return None
        try:
            return inputs_of_json(line, self._expected)
        except InvalidArgument as error:
            self._loop.call_soon_threadsafe(self._refuse, number, error.message)
            return None


def numbered(source: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Lines that follow each other, with the number of the first of them: the first of all is 1."""
    number, rest = 1, b""
    # `read1` returns what there is; `read` would wait for all of it.
    read = getattr(source, "read1", source.read)
    while block := read(_READ_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        for start in range(0, len(lines), PORTION):
            some = lines[start : start + PORTION]
            yield number, some
            number += len(some)
    if rest:
        yield number, [rest]
