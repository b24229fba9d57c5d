"""Settings come from the environment into one frozen dataclass per service, read once, all mistakes in one message.

A field `foo_seconds` of service `queue` is looked for under these names, the first one set wins:

    AIRSCREW_QUEUE_FOO_SECONDS          for this service
    AIRSCREW_QUEUE_FOO_SECONDS_FILE     … as the content of a file, stripped: how secrets arrive
    AIRSCREW_FOO_SECONDS                for every service that has such a field
    AIRSCREW_FOO_SECONDS_FILE

An empty variable counts as not set. A field without default must be set. Units are in the names (`_seconds`, `_bytes`);
a docstring below each field gives meaning and reason. Relations between fields belong into `__post_init__`, which
raises `ValueError`; it is reported like any other mistake. Variables that no field asks for are left alone, so that any
revision runs with yesterday's and tomorrow's environment.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import os
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

PREFIX = "AIRSCREW"

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

Settings = TypeVar("Settings")


class SettingsError(Exception):
    """The environment does not describe a runnable service; the message lists every mistake, one a line."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def load(cls: type[Settings], service: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Builds `cls`, a frozen dataclass, for `service` from `environ` (default: the process's environment).

    Field types: str, int, float, bool, Path, a `StrEnum`, `X | None`, `tuple[str, ...]` (comma separated) and
    `Mapping[str, str]` (`a=b,c=d`). Raises SettingsError with all mistakes at once, TypeError for a field of any
    other type.
    """
    source = os.environ if environ is None else environ
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # a dataclass, which TypeVar cannot say
        parse = _parser(hints[field.name])
        try:
            found = _find(field.name, service, source)
            if found is not None:
                values[field.name] = found.parse(parse)
            elif _required(field):
                mistakes.append(f"{_names(field.name, service)[0]} is not set")
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise SettingsError(mistakes)
    try:
        return cls(**values)
    except ValueError as error:
        raise SettingsError([str(error)]) from error


@dataclasses.dataclass(frozen=True)
class Described:
    """A setting, for people."""

    variable: str
    default: str | None
    """As one would write it; empty where nothing is the default, None where there is no default."""
    meaning: str


def described(cls: type[Any], service: str = "") -> list[Described]:
    """The settings of `cls`, in its order, with the docstrings below its fields. The variables are those of `service`,
    or without one those of every service."""
    meanings = _docstrings(cls)
    return [
        Described(
            _names(field.name, service)[0] if service else f"{PREFIX}_{field.name.upper()}",
            None if _required(field) else _written(_default(field)),
            meanings.get(field.name, ""),
        )
        for field in dataclasses.fields(cls)
    ]


def _docstrings(cls: type[Any]) -> dict[str, str]:
    """What stands below each field. Python drops it when it compiles, so it is read in the source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, below in itertools.pairwise(definition.body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _written(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case Mapping():
            return ",".join(f"{key}={each}" for key, each in value.items())
        case _:
            return str(value)


def _names(field: str, service: str) -> tuple[str, str]:
    return f"{PREFIX}_{service.upper()}_{field.upper()}", f"{PREFIX}_{field.upper()}"


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class _Found:
    """The text of a setting and where it came from. What came from a file may be a secret and is never quoted."""

    name: str
    text: str
    secret: bool

    def parse(self, parser: Callable[[str], Any]) -> Any:
        try:
            return parser(self.text)
        except ValueError as error:
            shown = "its content" if self.secret else repr(self.text)
            raise ValueError(f"{self.name}: {shown} {error}") from None


def _find(field: str, service: str, environ: Mapping[str, str]) -> _Found | None:
    for name in _names(field, service):
        text, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
        if text and path:
            raise ValueError(f"{name} and {name}_FILE are both set")
        if text:
            return _Found(name, text, secret=False)
        if path:
            return _Found(f"{name}_FILE", _content(f"{name}_FILE", path), secret=True)
    return None


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {path!r} cannot be read: {error}") from None


def _parser(hint: Any) -> Callable[[str], Any]:
    """How a text becomes a value of type `hint`. The parsers' ValueErrors complete the sentence "NAME: 'text' …"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and arguments[1] is types.NoneType:
        return _parser(arguments[0])
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return functools.partial(_parse_word, hint)
    if origin is tuple and arguments == (str, Ellipsis):
        return _parse_list
    if origin is Mapping and arguments == (str, str):
        return _parse_mapping
    raise TypeError(f"settings cannot hold {hint}")


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("is not a whole number") from None


def _parse_float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("is not a number") from None
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    return number


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("is neither true nor false")
    return word in _TRUE


def _parse_word(words: type[StrEnum], text: str) -> StrEnum:
    try:
        return words(text.strip().lower())
    except ValueError:
        raise ValueError(f"is none of {', '.join(words)}") from None


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(stripped for item in text.split(",") if (stripped := item.strip()))


def _parse_mapping(text: str) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for item in _parse_list(text):
        key, separator, value = item.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"is not a list of key=value pairs: {item!r} has no key or no '='")
        if key.strip() in pairs:
            raise ValueError(f"names {key.strip()!r} twice")
        pairs[key.strip()] = value.strip()
    return types.MappingProxyType(pairs)


_SCALARS: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    int: _parse_int,
    float: _parse_float,
    bool: _parse_bool,
    Path: Path,
}
