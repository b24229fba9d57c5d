"""Inputs become files: each variable one of its name, and all of them together in one more.

    a primitive            its text                          (`values`)
    a blob                 the file itself, or a directory if it has several parts
    a schema or data set   a directory, or a file if it is one
    a list, a map          a directory of its elements, named 0, 1, 2 … or by their keys
    a structure            JSON
    nothing                `null`

`inputs.pb` has the literals, with local paths in place of addresses; `inputs.json` or `inputs.yaml` the same as plain
values.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Final

import yaml
from flyteidl.core import literals_pb2, tasks_pb2, types_pb2
from google.protobuf.message import DecodeError

from libs.workflow import errors
from libs.workflow.phases import ErrorKind
from services.executor.copilot import values
from services.executor.copilot.failure import Failure
from services.executor.copilot.places import Places, all_of

LIMIT_BYTES: Final = 1 << 30
"""Largest inputs.pb, or value that was too large to be part of it."""


async def fetch(places: Places, inputs_uri: str, directory: Path, form: int, *, with_data: bool = True) -> None:
    """Brings the inputs at `inputs_uri` into `directory`. Without `with_data`, blobs stay where they are, and their
    literals say where. Raises Failure, or the blob store's errors.
    """
    try:
        inputs = _parsed(await places.read(inputs_uri, LIMIT_BYTES))
    except errors.NotFound as error:  # the engine has written it: we look into another store
        raise Failure(str(error), ErrorKind.SYSTEM) from error
    _make(directory)
    fetching = _Fetching(places, with_data)
    shown, placed = {}, literals_pb2.LiteralMap()
    for name, literal in sorted(inputs.literals.items()):
        shown[name], each = await fetching.place(literal, _inside(directory, name))
        placed.literals[name].CopyFrom(each)
    await fetching.finish()
    _write(directory / "inputs.pb", placed.SerializeToString(deterministic=True))
    if form == tasks_pb2.DataLoadingConfig.JSON:
        _write(directory / "inputs.json", json.dumps(shown, ensure_ascii=False, allow_nan=False).encode())
    elif form == tasks_pb2.DataLoadingConfig.YAML:
        _write(directory / "inputs.yaml", yaml.safe_dump(shown, allow_unicode=True).encode())


class _Fetching:
    """What is on its way."""

    def __init__(self, places: Places, with_data: bool) -> None:
        self._places = places
        self._with_data = with_data
        self._wanted: list[tuple[str, Path, bool]] = []
        """Address, path, and whether it has several parts."""

    async def place(self, literal: literals_pb2.Literal, path: Path) -> tuple[Any, literals_pb2.Literal]:
        """Writes what is small, and notes what is not. Returns the value as JSON has it, and as a literal."""
        if literal.HasField("offloaded_metadata"):
            content = await self._places.read(literal.offloaded_metadata.uri, LIMIT_BYTES)
            literal = _parsed(content, literals_pb2.Literal)
        placed = literals_pb2.Literal()
        match literal.WhichOneof("value"):
            case "scalar":
                shown, scalar = await self._scalar(literal.scalar, path)
                placed.scalar.CopyFrom(scalar)
                return shown, placed
            case "collection":
                _make(path)
                elements = []
                placed.collection.SetInParent()
                for index, each in enumerate(literal.collection.literals):
                    shown, element = await self.place(each, path / str(index))
                    elements.append(shown)
                    placed.collection.literals.append(element)
                return elements, placed
            case "map":
                _make(path)
                entries = {}
                placed.map.SetInParent()
                for key, each in sorted(literal.map.literals.items()):
                    entries[key], entry = await self.place(each, _inside(path, key))
                    placed.map.literals[key].CopyFrom(entry)
                return entries, placed
            case kind:
                raise Failure(f"{path.name}: a literal of kind {kind!r} cannot become a file", recoverable=False)

    async def finish(self) -> None:
        """Brings what was noted."""
        if not self._with_data:
            return
        single = [(uri, path) for uri, path, is_parted in self._wanted if not is_parted]
        parts = [await self._parts(uri, path) for uri, path, is_parted in self._wanted if is_parted]
        await all_of(self._places.download(uri, path) for uri, path in itertools.chain(single, *parts))

    async def _parts(self, uri: str, path: Path) -> list[tuple[str, Path]]:
        found = await self._places.list(uri)
        if not found:
            raise errors.NotFound(f"there is nothing below {uri}")
        return [(each, _below(path, below)) for each, below in found]

    async def _scalar(self, scalar: literals_pb2.Scalar, path: Path) -> tuple[Any, literals_pb2.Scalar]:
        placed = literals_pb2.Scalar()
        placed.CopyFrom(scalar)
        match scalar.WhichOneof("value"):
            case "primitive":
                _write(
                    path, values.text(scalar.primitive).encode() if scalar.primitive.WhichOneof("value") else b"null"
                )
                return values.native(scalar.primitive), placed
            case "blob":
                is_parted = scalar.blob.metadata.type.dimensionality == types_pb2.BlobType.MULTIPART
                placed.blob.uri = self._bring(scalar.blob.uri, path, is_parted)
                return placed.blob.uri, placed
            case "schema":
                placed.schema.uri = self._bring(scalar.schema.uri, path, True)
                return placed.schema.uri, placed
            case "structured_dataset":
                placed.structured_dataset.uri = self._bring(scalar.structured_dataset.uri, path, True)
                return placed.structured_dataset.uri, placed
            case "generic":
                shown = values.plain(scalar.generic)
                _write(path, json.dumps(shown, ensure_ascii=False).encode())
                return shown, placed
            case "binary":
                _write(path, scalar.binary.value)
                return values.binary(scalar.binary.value), placed
            case "error":
                _write(path, scalar.error.message.encode())
                return scalar.error.message, placed
            case "none_type":
                _write(path, b"null")
                return None, placed
            case "union":
                shown, inner = await self.place(scalar.union.value, path)
                placed.union.value.CopyFrom(inner)
                return shown, placed
            case kind:
                raise Failure(f"{path.name}: a value of kind {kind!r} cannot become a file", recoverable=False)

    def _bring(self, uri: str, path: Path, is_parted: bool) -> str:
        if not self._with_data:
            return uri
        self._wanted.append((uri, path, is_parted))
        return str(path)


def _inside(directory: Path, name: str) -> Path:
    """Names are users': none of them may lead elsewhere."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise Failure(f"{name[:100]!r} cannot be the name of a file", recoverable=False)
    return directory / name


def _below(directory: Path, path: str) -> Path:
    for segment in path.split("/") if path else ():
        directory = _inside(directory, segment)
    return directory


def _make(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _parsed(content: bytes, kind: Any = literals_pb2.LiteralMap) -> Any:
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise Failure(f"the inputs cannot be read: {error}", recoverable=False) from error
