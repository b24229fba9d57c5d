"""A bounded number of asyncio workers behind an unbounded line of jobs."""

from libs.workerpool.pool import PoolStopped, WorkerPool

__all__ = ["PoolStopped", "WorkerPool"]
