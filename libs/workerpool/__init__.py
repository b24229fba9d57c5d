"""A bounded number of asyncio workers behind an unbounded line of jobs (`pool`)."""
