"""What calls have in common that are answered by leaders."""

from __future__ import annotations

from collections.abc import AsyncIterator

from libs.clients.propeller import Propellers
from libs.store.records import LeaderRow
from libs.store.stories import Stories
from libs.workflow.errors import Unavailable
from protos import airscrew_pb2_grpc


class LeaderCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Finds the leaders."""

    _propellers: Propellers
    _stories: Stories
    _shards: int

    async def _leaders(self) -> AsyncIterator[LeaderRow]:
        """Who the leaders are, as far as the store knows. Raises Unavailable for a shard that nobody has ever led."""
        for shard in range(self._shards):
            leader = await self._stories.leader(shard)
            if leader is None:
                raise Unavailable(f"nobody leads shard {shard}")
            yield leader
