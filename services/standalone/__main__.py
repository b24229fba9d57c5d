"""`python -m services.standalone`, which is `airscrew start`."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

import click

from services.standalone import app
from services.standalone.settings import DEFAULT_PORT, CannotStart, Options


def default_data_dir() -> Path:
    """Where the XDG specification puts data of a user's programs."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "airscrew"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--port", type=click.IntRange(0, 65_534), default=DEFAULT_PORT, help="Port of Flyte's API; 0: any free one."
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Keeps everything.  [default: ~/.local/share/airscrew]"
)
@click.option("--database", metavar="URL", help="SQL database, postgresql://USER@HOST:PORT/NAME.  [default: SQLite]")
@click.option("--blob", metavar="URL", help="Blob store, s3://BUCKET/PREFIX.  [default: a directory]")
@click.option("--etcd", metavar="HOST:PORT,…", help="An etcd cluster.  [default: one of its own]")
@click.option("--executors", type=click.IntRange(1), default=1, help="Processes that run tasks.")
@click.option("--propellers", type=click.IntRange(1), default=1, help="Replicas; more than one needs PostgreSQL.")
@click.option(
    "--shards",
    type=click.IntRange(1),
    default=1,
    help="Parts of the work, each led by one propeller; fixed when a database is first used.",
)
@click.option(
    "--task-python",
    envvar="AIRSCREW_EXECUTOR_TASK_PYTHON",
    type=click.Path(path_type=Path),
    help="Python of the environment with flytekit that runs tasks.  [default: the one of pyflyte-execute on PATH]",
)
@click.option("--reset", is_flag=True, help="Delete what earlier starts left in the data directory.")
def start(
    port: int,
    data_dir: Path | None,
    database: str | None,
    blob: str | None,
    etcd: str | None,
    executors: int,
    propellers: int,
    shards: int,
    task_python: Path | None,
    reset: bool,
) -> None:
    """Start a whole system on this machine and serve until Ctrl-C.

    Each service is a process of its own. Stores that you name are used as they are and never reset; the others live in
    the data directory. For laptops and tests: nothing is encrypted or authenticated.
    """
    app.run(
        Options(
            data_dir=(data_dir or default_data_dir()).expanduser().absolute(),
            task_python=_task_python(task_python),
            port=port,
            database=database,
            blob=blob,
            etcd=tuple(filter(None, etcd.split(","))) if etcd else (),
            executors=executors,
            propellers=propellers,
            shards=shards,
            reset=reset,
        ),
        os.environ,
        say=lambda text: print(text, flush=True),
        warn=lambda text: print(f"airscrew: {text}", file=sys.stderr, flush=True),
    )


def _task_python(wanted: Path | None) -> Path:
    """The interpreter of the tasks' environment: the one named, else the one that `pyflyte-execute` belongs to.

    Not resolved: a virtual environment's interpreter is a link, and its place is what makes it one.
    """
    if wanted is not None:
        if not wanted.with_name("pyflyte-execute").is_file():
            raise CannotStart(f"--task-python {wanted}: flytekit is not installed there (no pyflyte-execute beside it)")
        return wanted.absolute()
    for folder in (_folder_of(shutil.which("pyflyte-execute")), Path(sys.executable).parent):
        if folder is not None and (folder / "pyflyte-execute").is_file() and (folder / "python").exists():
            return folder / "python"
    raise CannotStart("no Python environment with flytekit to run tasks in: install flytekit, or give --task-python")


def _folder_of(program: str | None) -> Path | None:
    return Path(program).absolute().parent if program else None


def main() -> int:
    """Runs the command line and returns the exit code: 0 after a stop, 1 when the system cannot start, 2 for misuse."""
    logging.basicConfig(level=logging.WARNING, format="airscrew: %(message)s")
    try:
        start.main(prog_name="airscrew start", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except CannotStart as error:
        print(f"airscrew: cannot start: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
