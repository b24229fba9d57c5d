"""How gRPC is spoken here: servers, channels, errors and statuses, batching on streams. Knows no service."""
