"""The executor's end of a channel to a task process (`bootstrap/frames.py`).

What comes from there is a task's word and nothing is believed of it: its size is bounded before it is kept, and what is
no message is the end of the conversation.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_LENGTHS: Final = struct.Struct("<II")
_HEADER_BYTES: Final = 4 << 10
PACKET_BYTES: Final = 1 << 16
"""What is sent at once at most, where the channel keeps packets apart."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a process says of a task that has ended in it."""

    code: int
    """The exit code that it would have, or has."""
    outputs: bytes | None
    deck: bool
    leak: str
    """Why the process runs no other task; empty when it may."""


class Broken(Exception):
    """What comes is no reply."""


def request(header: Mapping[str, Any], body: bytes) -> bytes:
    """What to send."""
    text = json.dumps(header).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


def packets(message: bytes) -> list[bytes]:
    """The message in pieces that can each be sent at once."""
    if len(message) <= PACKET_BYTES:
        return [message]
    return [message[at : at + PACKET_BYTES] for at in range(0, len(message), PACKET_BYTES)]


class Replies:
    """Gathers a reply from what is received, `limit` bytes of outputs at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = b""

    def feed(self, data: bytes) -> Reply | None:
        """The reply, once it is whole. Raises Broken."""
        self._data += data
        if len(self._data) < _LENGTHS.size:
            return None
        header, body = _LENGTHS.unpack_from(self._data)
        if header > _HEADER_BYTES or body > self._limit:
            raise Broken(f"a reply of {header} and {body} bytes")
        end = _LENGTHS.size + header + body
        if len(self._data) < end:
            return None
        if len(self._data) > end:
            raise Broken("more than one reply")
        whole, self._data = self._data, b""
        return _reply(whole[_LENGTHS.size : _LENGTHS.size + header], whole[_LENGTHS.size + header :])


def _reply(header: bytes, body: bytes) -> Reply:
    try:
        said = json.loads(header)
        outputs = body if said["inline"] else None
        return Reply(int(said["code"]) & 0xFF, outputs, bool(said["deck"]), str(said["leak"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Broken(f"a reply that cannot be read: {error}") from error
