"""Leadership of a shard through an etcd lease: campaign, hold, resign, look; and who is there to lead.

election    what is promised and what is not; the asyncio side
keeper      the thread that talks to etcd and keeps the lease alive
tenure      until when leadership may be assumed: shared by the two
presence    which replicas there are, and who leads what
rendezvous  which replica should lead which shard (pure)
etcd        the few plain calls, over several endpoints
"""

from libs.election.election import Election, LeaderInfo, Leadership
from libs.election.etcd import Access
from libs.election.presence import Presence, Survey, leader_key

__all__ = ["Access", "Election", "LeaderInfo", "Leadership", "Presence", "Survey", "leader_key"]
