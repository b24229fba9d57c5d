"""Redis as an intake reaches it: how it is connected to, how long it has to answer, and what its errors become.

Whether a request whose reply was lost has been carried out is unknown here. So nothing is repeated behind the caller's
back.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from libs.workflow.errors import FailedPrecondition, Unavailable
from libs.workflow.intake import Intake

_ANSWER_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 2.0


class Connection:
    """To the Redis of one intake. Nothing is connected before the first request."""

    def __init__(self, intake: Intake, passwords: Mapping[str, str]) -> None:
        where = intake.where
        self._source = intake.source
        self._address = where.address
        self.redis = redis.Redis(
            host=where.host,
            port=where.port,
            db=where.database,
            username=where.user or None,
            password=passwords.get(where.address),
            ssl=where.secure,
            ssl_min_version=ssl.TLSVersion.TLSv1_2 if where.secure else None,
            # An answer has its time from `asked`: the library's own `socket_timeout` writes under `asyncio.wait_for`,
            # which before Python 3.12 loses a cancellation that comes as the work ends.
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    async def close(self) -> None:
        await self.redis.aclose()

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[None]:
        """Around a request. Raises Unavailable when Redis does not answer and FailedPrecondition when it refuses."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                yield
        except ResponseError as error:
            raise FailedPrecondition(f"{self._source}: Redis refuses: {error}") from error
        except TimeoutError as error:
            raise Unavailable(f"Redis at {self._address} does not answer within {_ANSWER_SECONDS:g} s") from error
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis at {self._address} does not answer: {error}") from error
