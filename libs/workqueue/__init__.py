"""Which key comes next: a work queue with client-go's guarantees, as pure data. Time is an argument.

* **Stingy**: one key is never handed out twice at a time, and any number of adds while it waits collapse into one.
* **Nothing is missed**: any number of adds while a key is being processed lead to exactly one more processing.
* **Fair**: higher priority first; lanes of equal priority take turns; within a lane first come, first served.
* **Two ways to end**: `shut_down` takes nothing more and lets what waits be handed out; `shut_down_with_drain` says
  besides when all that was handed out is done.

Not promised: that a key is processed (whoever got it may die: leases are the caller's), nor any order between a key
that was delayed and one that was not.

Each file is one idea, and each wraps the one before it::

    items     what waits, and how duplicates collapse
    lanes     the order of keys: priorities, lanes, first come first served
    shares    the order of those who share something by weight, and exact limits
    queue     dirty and processing: one key, one worker
    delaying  … and keys that are not due yet
    limiters  how long a key that keeps coming back must wait
    limited   … and both together

What goes around a queue where somebody wants it, in any order::

    layer     what every queue can do, and how one is put around another
    pausing   nothing is handed out for a while
    bounded   no more than so many keys
    composite a second queue before the first, which is emptied in batches
    buckets   how long all keys together must wait
    kinds     the limiters by FlytePropeller's names and with its defaults
    observer  who is told what happens
    metrics   … and counts it, under client-go's names

Nothing here sleeps, blocks or reads a clock, so one caller at a time is assumed: the owner of the queue is one event
loop or one thread. All times are microseconds on a clock of the caller's choice that does not run backwards.
"""

from libs.workqueue.bounded import BoundedQueue
from libs.workqueue.buckets import DedupeBucket, TokenBucket
from libs.workqueue.composite import BatchingQueue, CompositeQueue, SimpleQueue, composite
from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Handed, Item
from libs.workqueue.kinds import limiter
from libs.workqueue.lanes import Turns
from libs.workqueue.layer import Layer, Queue
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import ItemExponential, Limiter, MaxOf, Undelayed
from libs.workqueue.metrics import Metrics, QueueMetrics
from libs.workqueue.observer import Observer
from libs.workqueue.pausing import PausableQueue
from libs.workqueue.queue import WorkQueue
from libs.workqueue.shares import Shares, Standing

__all__ = [
    "WorkQueue",
    "DelayingQueue",
    "RateLimitingQueue",
    "PausableQueue",
    "BoundedQueue",
    "CompositeQueue",
    "SimpleQueue",
    "BatchingQueue",
    "composite",
    "Queue",
    "Layer",
    "Item",
    "Handed",
    "Limiter",
    "ItemExponential",
    "Undelayed",
    "TokenBucket",
    "DedupeBucket",
    "MaxOf",
    "limiter",
    "Observer",
    "QueueMetrics",
    "Metrics",
    "Turns",
    "Shares",
    "Standing",
]
