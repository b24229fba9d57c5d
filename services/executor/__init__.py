"""The executor runs attempts: it dials the leading propeller, offers its slots, and answers for every process it
starts.

Here lives what is needed to run one attempt of one task on this machine and to tell its end exactly once. It decides
nothing about executions: no retries, no order, no placement. It has no credentials for SQL or etcd, because it runs
users' code; and users' code never shares an interpreter with it (`bootstrap`).
"""
