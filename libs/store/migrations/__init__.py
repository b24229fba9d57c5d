"""The steps from an empty database to the present schema.

A step is never changed once it is released. A change of schema is two releases: one that only adds, so that the older
program still runs beside it, and a later one that removes. Services refuse a database at another revision than theirs.
"""
