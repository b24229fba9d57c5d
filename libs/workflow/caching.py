"""What the outputs of a task are stored under, so that whoever asks the same finds them.

A key is 32 bytes made of the task's project, domain and name, the version that its author gives the cache, its
interface, and the inputs without those that make no difference. The task's own version is no part of it: code may be
registered anew without losing what is cached; whoever changes what it computes changes the cache's version.

A literal that carries a `hash` is known by that alone, at any depth. One that lies elsewhere is known by its hash or
else by its address. Whatever is a map counts the same in any order, and what describes (names for people, metadata)
does not count. As in Flyte, different in one thing: a `hash` inside a union counts, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from flyteidl.core import interface_pb2, literals_pb2
from google.protobuf.message import Message

from libs.workflow.graph import CachePolicy
from libs.workflow.identity import EntityId

KEY_BYTES = 32


def cache_key(task: EntityId, policy: CachePolicy, inputs: literals_pb2.LiteralMap) -> bytes:
    """The key of a task's outputs for these inputs."""
    counting = ((name, digest(literal)) for name, literal in inputs.literals.items() if name not in policy.ignored)
    return _combined(
        b"key",
        task.project.encode(),
        task.domain.encode(),
        task.name.encode(),
        policy.version.encode(),
        _interface(policy.interface),
        _named(counting),
    )


def digest(literal: literals_pb2.Literal) -> bytes:
    """What a literal counts as."""
    if literal.hash:
        return _combined(b"hash", literal.hash.encode())
    kind = literal.WhichOneof("value")
    if kind == "collection":
        return _combined(b"collection", *map(digest, literal.collection.literals))
    if kind == "map":
        return _combined(b"map", _named((name, digest(value)) for name, value in literal.map.literals.items()))
    if kind == "offloaded_metadata":
        return _combined(b"offloaded", literal.offloaded_metadata.uri.encode())
    if kind == "scalar" and literal.scalar.WhichOneof("value") == "union":
        union = literal.scalar.union
        return _combined(b"union", _plain(union.type), digest(union.value))
    return _combined(b"scalar", _plain(literal.scalar))


@lru_cache(maxsize=1024)
def _interface(serialized: bytes) -> bytes:
    """Names and types. Few, and asked for by every node that is cached: remembered."""
    interface = interface_pb2.TypedInterface.FromString(serialized)
    return _combined(
        b"interface",
        _named((name, _plain(variable.type)) for name, variable in interface.inputs.variables.items()),
        _named((name, _plain(variable.type)) for name, variable in interface.outputs.variables.items()),
    )


def _named(values: Iterable[tuple[str, bytes]]) -> bytes:
    return _combined(b"named", *(_combined(name.encode(), value) for name, value in sorted(values)))


def _plain(message: Message) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _combined(*parts: bytes) -> bytes:
    """Parts that differ, in themselves or in where one ends, give another digest."""
    hashed = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()
