"""Our protobuf messages ↔ our values, both ways, only here."""
