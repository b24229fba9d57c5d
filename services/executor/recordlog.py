"""A small map of bytes on disk that survives any death of its writer: an append-only file of checksummed records.

Guarantees: what was appended with `sync` is there after a power cut; what was appended without is there after the death
of the process. A record is there as a whole or not at all: reading ends at the first one that is torn, which can only
be the last. The file is rewritten when most of it is outdated, through a temporary file that replaces it at once.

Not guaranteed: two writers. Whoever opens it holds the directory's lock (`datadir`).
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

# CRC-32 of what follows, length of the key, length of the value; DELETED as length removes the key.
_HEADER = struct.Struct("<III")
_DELETED = 0xFFFFFFFF

# Below this size a rewrite saves nothing worth its fsync.
_REWRITE_BYTES = 1 << 20

Change = tuple[bytes, bytes | None]


class RecordLog:
    """The map and its file. All methods block on the disk; calls must not overlap."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[bytes, bytes] = {}
        """What the file says; read only."""
        self._live_bytes = 0
        self._file_bytes = self._read()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, self._file_bytes)  # a torn record at the end would hide what is appended after it
        os.lseek(self._file, 0, os.SEEK_END)

    @property
    def live_bytes(self) -> int:
        """What the entries take on disk."""
        return self._live_bytes

    def append(self, changes: Iterable[Change], *, sync: bool) -> None:
        """Sets keys, or removes those whose value is None. Raises OSError, and then nothing of it is in the file."""
        changes = list(changes)
        data = b"".join(_encode(key, value) for key, value in changes)
        try:
            _write_all(self._file, data)
            if sync:
                os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._file_bytes)
                os.lseek(self._file, 0, os.SEEK_END)
            raise
        self._file_bytes += len(data)
        for key, value in changes:
            self._apply(key, value)
        if self._file_bytes > _REWRITE_BYTES and self._file_bytes > 2 * self._live_bytes:
            self._rewrite()

    def close(self) -> None:
        os.close(self._file)

    def _apply(self, key: bytes, value: bytes | None) -> None:
        old = self.entries.pop(key, None)
        if old is not None:
            self._live_bytes -= _HEADER.size + len(key) + len(old)
        if value is not None:
            self.entries[key] = value
            self._live_bytes += _HEADER.size + len(key) + len(value)

    def _read(self) -> int:
        """Loads the entries; returns the length of the part that is whole."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        at = 0
        while at + _HEADER.size <= len(data):
            checksum, key_length, value_length = _HEADER.unpack_from(data, at)
            key_end = at + _HEADER.size + key_length
            end = key_end if value_length == _DELETED else key_end + value_length
            if end > len(data) or zlib.crc32(data[at + 4 : end]) != checksum:
                break
            key = data[at + _HEADER.size : key_end]
            self._apply(key, None if value_length == _DELETED else data[key_end:end])
            at = end
        return at

    def _rewrite(self) -> None:
        temporary = self._path.with_suffix(".new")
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, b"".join(_encode(key, value) for key, value in self.entries.items()))
            os.fsync(file)
            os.replace(temporary, self._path)
        except OSError:
            os.close(file)  # the old file is as good as before, only longer
            return
        os.close(self._file)
        self._file, self._file_bytes = file, self._live_bytes
        _sync_directory(self._path.parent)


def _encode(key: bytes, value: bytes | None) -> bytes:
    lengths = struct.pack("<II", len(key), _DELETED if value is None else len(value))
    body = lengths + key + (value or b"")
    return struct.pack("<I", zlib.crc32(body)) + body


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
