"""Messages on a stream between the executor and a task process: a JSON object and bytes, each with its length.

    length of the object, length of the bytes (unsigned, 4 bytes each, little endian) · object · bytes

Where the channel keeps packets apart (that of a process for many tasks does), a message is one or more of them, and
whoever reads one has it whole: what has not been read can be taken back by the one who sent it.

The executor writes its own end (`services/executor/framing.py`): it trusts nothing that comes from here.
"""

from __future__ import annotations

import json
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LENGTHS = struct.Struct("<II")
PIECE_BYTES = 1 << 18
MESSAGE_BYTES = 1 << 16  # of a message with descriptors
MOST_DESCRIPTORS = 8  # that come with a message
PACKET_BYTES = 1 << 16  # far below what one packet may have


class Channel:
    """One end, by its descriptor. Task code may close it, or put something else in its place: then `whole` is False."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.identity = self.identify()

    def identify(self) -> tuple[int, int]:
        try:
            state = os.fstat(self.descriptor)
        except OSError:
            return (0, 0)
        return (state.st_dev, state.st_ino)

    @property
    def whole(self) -> bool:
        return self.identity != (0, 0) and self.identify() == self.identity

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """The next message; None when the other end is closed."""
        data = os.read(self.descriptor, PIECE_BYTES)
        while len(data) < LENGTHS.size or len(data) < LENGTHS.size + sum(LENGTHS.unpack_from(data)):
            more = os.read(self.descriptor, PIECE_BYTES)
            if not more:
                return None
            data += more
        length, _ = LENGTHS.unpack_from(data)
        split = LENGTHS.size + length
        return json.loads(data[LENGTHS.size : split].decode()), data[split:]

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        text = json.dumps(header).encode()
        data = memoryview(LENGTHS.pack(len(text), len(body)) + text + body)
        while data:
            data = data[os.write(self.descriptor, data[:PACKET_BYTES]) :]


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """The next message with its descriptors; nothing when the other end is closed."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, MOST_DESCRIPTORS)
    except ConnectionError:
        return b"", []
    return data, descriptors
