"""`python -m services.queue`"""

from __future__ import annotations

import sys

from libs.runtime import process
from services.queue import app
from services.queue.settings import QueueSettings


def main() -> int:
    """Runs the service until it is told to stop; returns the exit code."""
    return process.serve("queue", QueueSettings, app.serve)


if __name__ == "__main__":
    sys.exit(main())
