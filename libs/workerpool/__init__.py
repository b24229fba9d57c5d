"""A bounded number of asyncio workers behind an unbounded line of jobs.

A pool bounds how many jobs run at once, not how many wait. `submit` therefore never waits and never refuses while the
pool is open; whoever submits has to know a bound for what may be waiting (a queue's credits, say), or asks the pool to
keep one: `try_submit` says no when there is no room, `submit_when_room` waits for it.

Guaranteed
    * At most `size` jobs run at a time, and they *start* in the order in which they were submitted.
    * A job that was submitted ends in one way, and whoever waits for it learns which: its result, its error, its
      cancellation, or `PoolStopped` when the pool was stopped before it could start. Nobody is left waiting by a stop.
    * A job's failure goes to who waits for it, else to the pool's handler, and harms no other job and no worker.
    * A job whose future is cancelled before it starts leaves the line at once and never starts.
    * A worker exists only while it has work or has had some within the last `idle_seconds`: an idle pool retires to
      nothing. A job costs the same however many workers there are or may be: only as many are brought to work as get
      stuck in their jobs, so that jobs which never wait are done by one, and the last to fall asleep is woken first.
    * Jobs that never wait keep the loop from others for no more than a few dozen of them in a row.
    * `stop` drops what waits and lets what runs finish; `stop_wait` lets all of it finish; `cancel` drops and cancels.
      Each refuses new jobs from the moment it is called, may be repeated, may be cancelled (by a grace period, say)
      and followed by a harder one. Leaving the `async with` block is `stop_wait`; leaving it by an exception is
      `cancel`.
    * `pause` ends by its deadline, by `resume` or by a stop; the pool is quiet from its return until then.

Not guaranteed
    * The order in which jobs end, and that a job submitted by a stopped pool's last jobs is taken: it is refused.
    * Fairness towards the event loop by a job that computes. Jobs that never wait are interrupted between, not within.
    * Context variables: a job runs in its worker's context, a copy of that in which the pool was made, and may see
      what earlier jobs of this worker have set. With `context=copy_context()` it runs in its submitter's.
    * That a job which waits for another one of the same pool can ever go on: when all workers do so, none is left.
      A job that would wait for the end or a pause of its own pool is refused by RuntimeError.
    * That a cancelled job ends: it may refuse, as a task may. KeyboardInterrupt and SystemExit end the process.
    * Anything across threads. A pool belongs to the event loop it is used in.

Each file is one idea, and `pool` puts them together::

    line      who is next: first come first served, withdrawals, bars
    futures   a job's end as a future, and cancelling it
    contexts  a coroutine in a context of its own
    crew      the workers: hiring, sleeping, waking, retiring
    lobby     those who wait until there is room
    pause     nothing runs until it is over
    pool      all of it
    pacer     a pace for starts, for one pool, several or none

`pool`'s parts do without each other where they can: the line waits for nothing, the crew knows nothing of futures.
"""

from libs.workerpool.futures import JobFuture, PoolStopped
from libs.workerpool.pacer import Pacer, PacerStopped
from libs.workerpool.pause import Pause
from libs.workerpool.pool import WorkerPool

__all__ = ["JobFuture", "Pacer", "PacerStopped", "Pause", "PoolStopped", "WorkerPool"]
