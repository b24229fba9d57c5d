"""Files become outputs: each variable of the interface is looked for under its name, with any extension or none.

    a simple type          the file's text, at most a mebibyte    (`values`)
    a blob                 the file, or the directory where it may have several parts, is uploaded
    a schema or data set   the file or directory is uploaded
    an enumeration         the file's text
    a list, a map          a directory: of files 0, 1, 2 …, or of files by the names of their keys
    a union                the first of its variants that what is there can be; nothing there, if it may be nothing

A file `_ERROR` is the task's word that it has failed, and why.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from flyteidl.core import interface_pb2, literals_pb2, types_pb2

from libs.workflow.phases import ErrorKind
from services.executor.copilot import failure, values
from services.executor.copilot.failure import Failure
from services.executor.copilot.places import Places, all_of

ERROR_FILE: Final = "_ERROR"
LIMIT_BYTES: Final = 1 << 20
"""Largest file that holds a value or an error itself. (Flyte's co-pilot: a kibibyte for values.)"""


async def deliver(
    places: Places, outputs: interface_pb2.VariableMap, directory: Path, raw_prefix: str
) -> literals_pb2.LiteralMap:
    """Uploads what is to be uploaded below `raw_prefix` and returns the outputs. Raises Failure, or the blob store's
    errors.
    """
    delivery = _Delivery(directory, raw_prefix.rstrip("/"))
    collected = literals_pb2.LiteralMap()
    try:
        delivery.look_for_an_error()
        for name, variable in sorted(outputs.variables.items()):
            collected.literals[name].CopyFrom(delivery.collect(variable.type, directory / name, name))
    except PermissionError as error:
        raise Failure(f"{error.filename} may not be read by others than its owner: chmod o+rX") from None
    await all_of(places.upload(path, uri) for path, uri in delivery.files)
    return collected


class _Delivery:
    """What was found so far."""

    def __init__(self, directory: Path, raw_prefix: str) -> None:
        self._directory = directory.resolve()
        self._raw_prefix = raw_prefix
        self.files: list[tuple[Path, str]] = []
        """What is to be uploaded, and where to."""

    def look_for_an_error(self) -> None:
        """Raises Failure where the task says that it has failed."""
        path = self._directory / ERROR_FILE
        if path.exists() or path.is_symlink():
            message = self._content(path, ERROR_FILE).decode(errors="replace").strip()
            raise Failure(message or "the task has left an empty file _ERROR", code=failure.TASK)

    def collect(self, wanted: types_pb2.LiteralType, path: Path, name: str) -> literals_pb2.Literal:
        """The literal for what lies at `path`. `name` is what messages call it."""
        literal = literals_pb2.Literal()
        match wanted.WhichOneof("type"):
            case "simple":
                literal.scalar.CopyFrom(self._simple(wanted.simple, path, name))
            case "enum_type":
                literal.scalar.CopyFrom(self._simple(types_pb2.STRING, path, name))
                chosen, known = literal.scalar.primitive.string_value, list(wanted.enum_type.values)
                if chosen not in known:
                    raise Failure(f"output {name!r}: {chosen[:60]!r} is none of {', '.join(known)}")
            case "blob":
                literal.scalar.blob.metadata.type.CopyFrom(wanted.blob)
                is_parted = wanted.blob.dimensionality == types_pb2.BlobType.MULTIPART
                literal.scalar.blob.uri = self._upload(path, name, directory=is_parted)
            case "schema":
                literal.scalar.schema.type.CopyFrom(wanted.schema)
                literal.scalar.schema.uri = self._upload(path, name)
            case "structured_dataset_type":
                kind = literal.scalar.structured_dataset.metadata.structured_dataset_type
                kind.CopyFrom(wanted.structured_dataset_type)
                literal.scalar.structured_dataset.uri = self._upload(path, name)
            case "collection_type":
                literal.collection.literals.extend(self._elements(wanted.collection_type, path, name))
            case "map_value_type":
                literal.map.SetInParent()
                for each in self._entries(path, name):
                    entry = self.collect(wanted.map_value_type, each, f"{name}/{each.name}")
                    literal.map.literals[each.name].CopyFrom(entry)
            case "union_type":
                literal.scalar.union.CopyFrom(self._variant(wanted.union_type, path, name))
            case kind:
                raise Failure(f"output {name!r}: files cannot be values of kind {kind!r}", recoverable=False)
        return literal

    def _simple(self, kind: int, path: Path, name: str) -> literals_pb2.Scalar:
        try:
            return values.parse(kind, self._content(self._found(path, name), name))
        except ValueError as error:
            raise Failure(f"output {name!r}: its file {error}") from None

    def _elements(self, wanted: types_pb2.LiteralType, path: Path, name: str) -> list[literals_pb2.Literal]:
        entries = {each.name.partition(".")[0]: each for each in self._entries(path, name)}
        if sorted(entries) != sorted(map(str, range(len(entries)))):
            raise Failure(
                f"output {name!r}: the elements of a list are files 0, 1, 2 …: there are {sorted(entries)[:20]}"
            )
        return [self.collect(wanted, entries[str(i)], f"{name}/{i}") for i in range(len(entries))]

    def _entries(self, path: Path, name: str) -> list[Path]:
        found = self._found(path, name)
        if not found.is_dir():
            raise Failure(f"output {name!r}: {found.name} is a file, where a directory is expected")
        return sorted(found.iterdir())

    def _variant(self, union: types_pb2.UnionType, path: Path, name: str) -> literals_pb2.Union:
        refused: list[str] = []
        for variant in union.variants:
            is_nothing = variant.simple == types_pb2.NONE and variant.WhichOneof("type") == "simple"
            if is_nothing and self._is_there(path):
                continue
            before = len(self.files)
            try:
                if is_nothing:
                    value = literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
                else:
                    value = self.collect(variant, path, name)
            except Failure as error:
                del self.files[before:]
                refused.append(str(error))
                continue
            return literals_pb2.Union(value=value, type=variant)
        raise Failure(" · ".join(refused) or f"output {name!r}: there is a file, where there should be none")

    # ----------------------------------------------------------------------------------------------------------- files

    def _upload(self, path: Path, name: str, *, directory: bool | None = None) -> str:
        """Notes a file or directory. Returns where it will be. `directory` says which of them it has to be."""
        found = self._found(path, name)
        if directory is not None and found.is_dir() is not directory:
            is_, expected = ("a file", "a directory") if directory else ("a directory", "a file")
            raise Failure(f"output {name!r}: {found.name} is {is_}, where {expected} is expected")
        uri = f"{self._raw_prefix}/{name}"
        if found.is_dir():
            for each in self._below(found, name):
                self.files.append((each, f"{uri}/{each.relative_to(found).as_posix()}"))
        else:
            self.files.append((self._own(found, name), uri))
        return uri

    def _below(self, directory: Path, name: str) -> list[Path]:
        """All files of a directory and of those in it; links to directories are not followed."""
        found: list[Path] = []
        for each in sorted(directory.iterdir()):
            if each.is_dir() and not each.is_symlink():
                found += self._below(each, name)
            else:
                found.append(self._own(each, name))
        return found

    def _is_there(self, path: Path) -> bool:
        return path.exists() or path.is_symlink() or len(_with_any_extension(path)) == 1

    def _found(self, path: Path, name: str) -> Path:
        """The path itself, or the only one that has an extension more."""
        if path.exists() or path.is_symlink():
            return self._within(path, name)
        others = _with_any_extension(path)
        if len(others) == 1:
            return self._within(others[0], name)
        what = f"there are several files: {', '.join(each.name for each in others)}" if others else "there is no file"
        raise Failure(f"output {name!r}: {what} {'' if others else path}".rstrip())

    def _content(self, path: Path, name: str) -> bytes:
        own = self._own(path, name)
        if (size := own.stat().st_size) > LIMIT_BYTES:
            raise Failure(
                f"output {name!r}: its file has {size} bytes, more than the {LIMIT_BYTES} that a value may have"
            )
        return own.read_bytes()

    def _own(self, path: Path, name: str) -> Path:
        """A regular file that the task has left, and that can be read."""
        inside = self._within(path, name)
        try:
            if not stat.S_ISREG(inside.stat().st_mode):
                raise Failure(f"output {name!r}: {path.name} is no file")
            with inside.open("rb"):
                return inside
        except PermissionError:
            raise
        except OSError as error:
            raise Failure(f"output {name!r}: {path.name}: {error.strerror}", ErrorKind.SYSTEM) from error

    def _within(self, path: Path, name: str) -> Path:
        """Where links lead to, which must be the task's own: we may read what it must not."""
        try:
            real = path.resolve(strict=True)
        except PermissionError:
            raise
        except (OSError, RuntimeError):
            raise Failure(f"output {name!r}: {path.name} leads nowhere") from None
        if not real.is_relative_to(self._directory):
            raise Failure(f"output {name!r}: {path.name} leads out of the directory of outputs", recoverable=False)
        return real


def _with_any_extension(path: Path) -> list[Path]:
    if not path.parent.is_dir():
        return []
    return sorted(each for each in path.parent.iterdir() if each.name.startswith(f"{path.name}."))
