"""The steps from an empty database to the present schema.

A step is never changed once it is released. A change of schema is two releases: one that only adds, so that the older
program still runs beside it, and a later one that removes. Services refuse a database at another revision than theirs.

To add a step: write `versions/r<number>_<what>.py` with `revision` and `down_revision`, change `schema` to match, and
set `schema.REVISION` to the new number. A test compares what the steps make with what the schema says.
"""
