"""`python -m services.admin`"""

from __future__ import annotations

import sys

from libs.runtime import process
from services.admin import app
from services.admin.settings import AdminSettings


def main() -> int:
    """Runs the service until it is told to stop; returns the exit code."""
    return process.serve("admin", AdminSettings, app.serve)


if __name__ == "__main__":
    sys.exit(main())
