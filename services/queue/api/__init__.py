"""airscrew.queue.v1 on the wire: `service` the calls and streams, `inspection` what the queue holds as messages."""

from services.queue.api.service import SERVICE, Queue

__all__ = ["SERVICE", "Queue"]
