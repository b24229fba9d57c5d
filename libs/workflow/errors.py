"""What can go wrong, named after what the catcher does.

Every error that may reach a user is one of these. `libs/rpc` turns them into gRPC statuses and back by one table;
nothing else maps errors. The message names the field and the reason.
"""

from __future__ import annotations


class AirscrewError(Exception):
    """Something went wrong inside the engine."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__).strip().splitlines()[0])

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidArgument(AirscrewError):
    """The request can never succeed as it is: the caller must change it."""


class NotFound(AirscrewError):
    """What the request names does not exist."""


class AlreadyExists(AirscrewError):
    """The name is taken; what exists stays as it is."""


class FailedPrecondition(AirscrewError):
    """The request is well-formed, but the state of what it names forbids it."""


class Unimplemented(AirscrewError):
    """A part of Flyte's API that this engine does not have, or not yet. The message names it."""


class PermissionDenied(AirscrewError):
    """The caller may not do this."""


class Unauthenticated(AirscrewError):
    """The caller did not prove who it is."""


class ResourceExhausted(AirscrewError):
    """A limit is reached: a size, a depth, a disk. The message says which."""

    def __init__(self, message: str = "", *, retry_after_us: int | None = None) -> None:
        """`retry_after_us`: after how long asking again makes sense; None where the limit does not pass by itself."""
        super().__init__(message)
        self.retry_after_us = retry_after_us


class Unavailable(AirscrewError):
    """Something we depend on does not answer: the same request may succeed later."""


class DeadlineExceeded(AirscrewError):
    """The time allowed passed before the answer was there."""


class Internal(AirscrewError):
    """A bug of ours."""


class Fenced(AirscrewError):
    """A newer leader has claimed the shard: whoever gets this must stop acting at once."""


class Refused(AirscrewError):
    """The store took the connection but refuses this very write: retrying it unchanged is pointless."""


class KeyTaken(Refused):
    """A new row's key is somebody else's: another key will do."""
