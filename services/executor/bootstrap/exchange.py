"""The files of one task, as far as they exist in memory only, and how flytekit comes to use them.

outputs only, at most `limit` bytes, nothing at the output prefix     handed back; no file is written
anything else: errors, plans, large or offloaded outputs              written to the output prefix, as ever
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from services.executor.bootstrap.leanway import LeanWay

OUTPUTS = "outputs.pb"
DECK = "deck.html"


class Result:
    """What came out: an exit code, and the outputs where they were handed back."""

    def __init__(self, code: int, outputs: bytes | None = None, deck: bool = False) -> None:
        self.code = code
        self.outputs = outputs
        self.deck = deck


class Exchange:
    """The files of one task, as far as they exist in memory only."""

    def __init__(self, inputs_uri: str, inputs: bytes | None, prefix: str, limit: int) -> None:
        self.inputs_uri = inputs_uri
        self.inputs = inputs
        self.inputs_file = ""
        self.prefix = prefix.rstrip("/")
        self.limit = limit
        self.written: dict[str, Any] = {}
        self.outputs: bytes | None = None
        self.deck = False
        self.write: Callable[[], object] = lambda: None
        """Writes what was handed back after all."""

    def take_outputs(self) -> bool:
        """Whether all that was written is outputs that can be handed back."""
        if len(self.written) != 1:
            return False
        ((path, message),) = self.written.items()
        if os.path.basename(path) != OUTPUTS or message.ByteSize() > self.limit:
            return False
        if not self.deck and "://" not in self.prefix and os.path.lexists(self.prefix):
            return False  # the task has written there itself: what counts is what lies there
        self.outputs = message.SerializeToString()
        return True


class Utils:
    """`flytekit.core.utils` as the entry point sees it."""

    def __init__(self, module: Any, way: LeanWay) -> None:
        self._module = module
        self._way = way

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def load_proto_from_file(self, kind: Any, path: str) -> Any:
        exchange = self._way.exchange
        if exchange is not None and exchange.inputs is not None and path == exchange.inputs_file:
            return kind.FromString(exchange.inputs)
        return self._module.load_proto_from_file(kind, path)

    def write_proto_to_file(self, message: Any, path: str) -> None:
        exchange = self._way.exchange
        if exchange is None:
            self._module.write_proto_to_file(message, path)
        else:
            exchange.written[path] = message

    def write_out(self, exchange: Exchange) -> None:
        for path, message in exchange.written.items():
            self._module.write_proto_to_file(message, path)


class Tempfiles:
    """`tempfile` as flytekit's checkpoints see it: every task has one with a directory, which hardly any task needs."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def TemporaryDirectory(self) -> Any:
        return LateDirectory(self._module.TemporaryDirectory)


class LateDirectory:
    """A `TemporaryDirectory` that is made when somebody asks for its name."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    @property
    def name(self) -> str:
        if self._made is None:
            self._made = self._make()
        return self._made.name  # type: ignore[no-any-return]

    def cleanup(self) -> None:
        if self._made is not None:
            self._made.cleanup()


class Late:
    """Something that is made when somebody wants anything of it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        made = self.__dict__.get("_made")
        if made is None:
            made = self.__dict__["_made"] = self._make()
        return getattr(made, name)


def provider(base: Any, way: LeanWay) -> Any:
    class Provider(base):  # type: ignore[misc]
        """The file access of one task, which knows the files that exist in memory only."""

        def get_data(self, remote_path: str, local_path: str, is_multipart: bool = False, **more: Any) -> Any:
            exchange = way.exchange
            if exchange is not None and exchange.inputs is not None and remote_path == exchange.inputs_uri:
                exchange.inputs_file = local_path
                return local_path
            return super().get_data(remote_path, local_path, is_multipart=is_multipart, **more)

        def put_data(self, local_path: Any, remote_path: str, is_multipart: bool = False, **more: Any) -> Any:
            exchange = way.exchange
            if exchange is not None and exchange.written and remote_path.rstrip("/") == exchange.prefix:

                def write() -> Any:
                    way.entrypoint.utils.write_out(exchange)
                    return base.put_data(self, local_path, remote_path, is_multipart=is_multipart, **more)

                if exchange.take_outputs():
                    exchange.write = write
                    return remote_path
                return write()
            put = super().put_data(local_path, remote_path, is_multipart=is_multipart, **more)
            if exchange is not None and remote_path == f"{exchange.prefix}/{DECK}":
                exchange.deck = True
            return put

    Provider.__name__ = Provider.__qualname__ = base.__name__
    return Provider
