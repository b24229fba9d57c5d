"""What arrives over gRPC: one module per service, each method decodes, calls a noun, encodes. Nothing is decided
here."""
