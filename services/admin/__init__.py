"""The front door: Flyte's API, and our own beside it, for everyone who is not one of our processes.

What may live here: what turns a client's request into durable intent (registry, launch), what answers reads from SQL
and the blob store, and what moves files in and out over signed addresses. It holds no state, so any number of replicas
may serve; it never decides how an execution goes on, and nothing here waits for the leader.
"""
