"""The queue service as its callers see it: four streams, each an async context manager that reconnects by itself, and
the calls of an operator (`Operator`).

    Enqueuer    admin and the leader: these executions want attention
    WorkFeed    a leader: keys of its shard, leased until they are done
    Publisher   a leader: these executions have changed
    Subscriber  admin: what has changed

All of it is hints. What is lost on the way is found by the leader's sweep or the watcher's timer, so nothing here ever
makes its caller wait or fail, with one exception: a WorkFeed whose epoch is over says so.

Sending is batched (`Batcher`, `Pace`); `counters` of each client say in how many messages how much travelled.
"""

from libs.clients.queue.enqueuer import Enqueuer
from libs.clients.queue.keys import Key, Reason
from libs.clients.queue.operator import Operator
from libs.clients.queue.publisher import Publisher
from libs.clients.queue.subscriber import Subscriber
from libs.clients.queue.workfeed import Leased, WorkFeed
from libs.wire.hints import Hint, News

__all__ = ["Enqueuer", "Hint", "Key", "Leased", "News", "Operator", "Publisher", "Reason", "Subscriber", "WorkFeed"]
