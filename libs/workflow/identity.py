"""Names and numbers of things: outside an execution is `(project, domain, name)`, inside it is a 64-bit key.

Node ids follow Flyte: a child's id is `<parent>-<parent attempt>-<spec id>`, for example `n1-0-n0`. They are never
hashed or shortened here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

START_NODE_ID = "start-node"
END_NODE_ID = "end-node"

_EXECUTION_NAME = re.compile(r"[a-z][a-z\-0-9]*")
MAX_EXECUTION_NAME_LENGTH = 63
_NAME_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_PAIRS = tuple(low + high for high in _NAME_ALPHABET for low in _NAME_ALPHABET)


class ExecutionId(NamedTuple):
    """How users name an execution."""

    project: str
    domain: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}:{self.domain}:{self.name}"


class EntityId(NamedTuple):
    """How users name a registered task, workflow or launch plan (the table tells which)."""

    project: str
    domain: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.project}:{self.domain}:{self.name}:{self.version}"


class AttemptId(NamedTuple):
    """One attempt of one node: belongs to one executor for ever (promise P4)."""

    execution: int
    node: str
    attempt: int


def valid_execution_name(name: str) -> bool:
    """Flyte's rule for execution names: `^[a-z][a-z\\-0-9]*$`, at most 63 characters."""
    return len(name) <= MAX_EXECUTION_NAME_LENGTH and _EXECUTION_NAME.fullmatch(name) is not None


def execution_name(entropy: bytes) -> str:
    """A generated execution name from at least 16 random bytes: `a` and 19 letters or digits, as Flyte's admin does.

    Alphanumeric only: the client parses names out of console addresses.
    """
    number = int.from_bytes(entropy[:16], "big")
    letters = ["a"]
    for _ in range(9):  # two letters at a time: half of the long divisions
        number, pair = divmod(number, len(_PAIRS))
        letters.append(_PAIRS[pair])
    letters.append(_NAME_ALPHABET[number % len(_NAME_ALPHABET)])
    return "".join(letters)


def execution_key(now_us: int, entropy: bytes) -> int:
    """A positive 63-bit key, increasing with time so that inserts append: 41 bits of milliseconds, 22 random bits.

    Two keys minted in one millisecond collide once in four million; the store's primary key refuses the second, and
    the caller mints another.
    """
    milliseconds = (now_us // 1000) & ((1 << 41) - 1)
    return (milliseconds << 22) | (int.from_bytes(entropy[:4], "big") & ((1 << 22) - 1))


def execution_keys(now_us: int, count: int, entropy: Callable[[int], bytes]) -> list[int]:
    """Keys of executions that are submitted together: ascending, and no two alike. `count` is at most a million."""
    drawn: set[int] = set()
    while len(drawn) < count:
        missing = count - len(drawn)
        noise = entropy(4 * missing)
        drawn.update(execution_key(now_us, noise[at : at + 4]) for at in range(0, 4 * missing, 4))
    return sorted(drawn)


def shard_of(root_key: int, shards: int) -> int:
    """The shard of an execution, from the key of its root, so that children live with their root."""
    if shards == 1:
        return 0
    digest = hashlib.blake2b(root_key.to_bytes(8, "big"), digest_size=4).digest()
    return int.from_bytes(digest, "big") % shards


def child_node_id(parent: str, parent_attempt: int, spec_id: str) -> str:
    """Unique id of a node inside a sub-workflow or dynamic node; at the top level the spec id is the id."""
    return f"{parent}-{parent_attempt}-{spec_id}" if parent else spec_id
