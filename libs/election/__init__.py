"""Leadership of a shard through an etcd lease: campaign, hold, resign, look.

election    what is promised and what is not; the asyncio side
keeper      the thread that talks to etcd and keeps the lease alive
tenure      until when leadership may be assumed: shared by the two
etcd        the few plain calls, over several endpoints
"""

from libs.election.election import Election, LeaderInfo, Leadership
from libs.election.etcd import Access

__all__ = ["Access", "Election", "LeaderInfo", "Leadership"]
