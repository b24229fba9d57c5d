"""The services of one installation in one process, on virtual time, with faults that are drawn from a seed.

What decides is the product's own code: leadership, terms, sessions, placement, the queue's shards, the executor's
attempts, spool and journal, and the clients between them. What is played is what lies below their ports: the event
loop and its clock, the network, the database, etcd, the blob store, the disks, and the tasks of users.
"""
