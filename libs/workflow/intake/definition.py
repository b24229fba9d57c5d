"""What an intake is: which list or stream, how its items are written, what they become, and within which limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId

DEFAULT_FIELD: Final = "data"
DEFAULT_LIMIT: Final = 1_000
DEFAULT_TRIES: Final = 5
DEFAULT_PORT: Final = 6379

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SCHEMES: Final = ("redis", "rediss")
_LARGEST: Final = 2**31 - 1


class Kind(StrEnum):
    """The Redis types that are taken in."""

    LIST = "list"
    STREAM = "stream"


class Codec(StrEnum):
    """How an item is written."""

    JSON = "json"
    """An object with a value for each input."""
    LITERALS = "literals"
    """A serialized `flyteidl.core.LiteralMap`."""


class IntakeId(NamedTuple):
    """How users name an intake."""

    project: str
    domain: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}:{self.domain}:{self.name}"


class Source(NamedTuple):
    """Where the items are."""

    secure: bool
    """Over TLS."""
    user: str
    host: str
    port: int
    database: int
    key: str

    @property
    def address(self) -> str:
        """`host:port`, under which the password is looked up."""
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Source:
        """The source that `redis://[user@]host[:port]/[database/]key` means. Raises InvalidArgument.

        Passwords are refused: what is stored is shown to everybody who asks.
        """
        try:
            url = urlsplit(text)
            port = url.port or DEFAULT_PORT
        except ValueError as error:
            raise InvalidArgument(f"source: {error}") from None
        if url.scheme not in _SCHEMES or not url.hostname:
            raise InvalidArgument("source: must be redis://host:port/key or rediss://host:port/key")
        if url.password is not None:
            raise InvalidArgument(
                "source: has a password, which everybody could read: leave it out and tell it the queue service, "
                "AIRSCREW_QUEUE_REDIS_PASSWORDS"
            )
        if url.query or url.fragment:
            raise InvalidArgument("source: what follows ? or # means nothing here: write %3F or %23 in a key")
        database, key = _path(url.path)
        if not key:
            raise InvalidArgument("source: names no key: redis://host:port/key")
        return cls(url.scheme == "rediss", unquote(url.username or ""), url.hostname, port, database, key)


def _path(path: str) -> tuple[int, str]:
    """Number of the database and key. A key of digits only is written after a number."""
    first, slash, rest = path.removeprefix("/").partition("/")
    if slash and first.isdecimal():
        return int(first), unquote(rest)
    return 0, unquote(path.removeprefix("/"))


@dataclass(frozen=True, slots=True)
class Intake:
    """The definition of an intake. Making one checks it; raises InvalidArgument naming the field."""

    id: IntakeId
    source: str
    kind: Kind
    codec: Codec
    launch_plan: EntityId
    field: str = DEFAULT_FIELD
    """Of a stream's entries: the one that holds the item."""
    id_field: str = ""
    """Of JSON items: the one that names the item for good; empty when none does."""
    limit: int = DEFAULT_LIMIT
    """So many of its executions may be unfinished at a time."""
    tries: int = DEFAULT_TRIES
    """So often the creation of an item's execution may fail before the item is given up."""
    paused: bool = False
    created_at_us: int = 0

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.id.name) is None:
            raise InvalidArgument(
                f"id.name: {self.id.name[:100]!r} must be at most 63 lower-case letters, digits and -, and not begin "
                "or end with -"
            )
        Source.parse(self.source)
        if self.id_field and self.codec is not Codec.JSON:
            raise InvalidArgument("id_field: only JSON items have fields")
        for field, value in (("limit", self.limit), ("tries", self.tries)):
            if not 1 <= value <= _LARGEST:
                raise InvalidArgument(f"{field}: {value} is not between 1 and {_LARGEST}")

    @property
    def where(self) -> Source:
        return Source.parse(self.source)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an intake is, as Redis knows it."""

    waiting: int | None = None
    """In Redis, untouched. None when that Redis is too old to know, or does not answer."""
    claimed: int = 0
    """Taken, not yet durable as executions; those to be replayed included."""
    done: int = 0
    dead: int = 0
    rate: float = 0.0
    """Executions a second, over the last seconds."""
    runner: str = ""
    """Which queue service takes in at the moment; empty when none does."""
    note: str = ""
    """What it waits for, or what is wrong."""


@dataclass(frozen=True, slots=True)
class DeadItem:
    """An item that was given up."""

    claim: str
    """What it was known by: the number of its claim, or the id of the stream's entry."""
    item: bytes
    reason: str
    at_us: int


def tag(id: IntakeId) -> str:
    """The tag that an intake's executions have, by which they are found and counted."""
    return f"intake:{id.name}"
