"""One module a revision of the schema, numbered in their order; first expand, later contract."""
