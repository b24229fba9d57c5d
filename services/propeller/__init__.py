"""The propeller: leads through an etcd lease, reconciles executions, and has executors run their attempts.

A newcomer reads `leadership` (who acts), `term` (what a leader has), `reconcile` (a turn), `committer` (how it becomes
durable) and `placement` and `sessions` (how attempts get to executors), in this order.
"""
