"""Runs the `airscrew` command. Whatever goes wrong is one line on standard error and exit code 2."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from libs.workflow.errors import AirscrewError
from services.cli.app import airscrew
from services.cli.names import UsageError

COMMAND_FAILED: Final = 2
INTERRUPTED: Final = 130
READER_GONE: Final = 141
"""Both as a shell counts death by SIGINT and SIGPIPE."""


def main() -> int:
    """Runs the command line and returns the exit code."""
    try:
        code = airscrew.main(prog_name="airscrew", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return COMMAND_FAILED
    except (AirscrewError, UsageError) as error:
        print(f"airscrew: {error}", file=sys.stderr)
        return COMMAND_FAILED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush complains again
        return READER_GONE


if __name__ == "__main__":
    sys.exit(main())
