"""`python -m services.propeller`: one propeller replica."""

from __future__ import annotations

import sys

from libs.runtime import process
from services.propeller import app
from services.propeller.settings import PropellerSettings


def main() -> int:
    """Runs until it is told to stop; returns the exit code."""
    return process.serve("propeller", PropellerSettings, app.serve)


if __name__ == "__main__":
    sys.exit(main())
