"""SQL: what is registered, what was submitted, what became of it, and who may write that.

Belongs here: the schema, its migrations, the turning of values into rows and back, the queries. Does not belong here:
any decision about an execution (that is `libs/workflow`), and any message of a wire.

Two doors lead in. `ledger` is the leader's: synchronous, one connection, one thread, every write fenced by the epoch.
`registry` and `executions` are everybody else's: asynchronous, one query per question. Both run on SQLite and on
PostgreSQL, and raise only `libs.workflow.errors`.
"""
