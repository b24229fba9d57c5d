"""What the user sees when the system is up, and the file that makes `pyflyte` find it."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from services.standalone.datadir import DataDir
from services.standalone.plan import Plan
from services.standalone.settings import DEFAULT_PORT, Options

CLIENT_CONFIG = """\
# Written by `airscrew start`: use it with `pyflyte -c` or FLYTECTL_CONFIG.
admin:
  endpoint: dns:///{endpoint}
  insecure: true
"""

READY = """\
Airscrew is ready after {seconds:.1f} s.

  Flyte API   {endpoint}
  uploads     {http_url}
  config      {config}
  logs        {logs}

Run a workflow:

  {pyflyte} -c {config} run --remote {example}

and look at it:

  airscrew watch @latest{endpoint_option}

Ctrl-C stops the system. What runs then continues at the next start on the same data."""


def client_config(endpoint: str) -> str:
    return CLIENT_CONFIG.format(endpoint=endpoint)


def ready(options: Options, data: DataDir, plan: Plan, seconds: float) -> str:
    """The addresses, and what to type next."""
    return READY.format(
        seconds=seconds,
        endpoint=plan.endpoint,
        http_url=plan.http_url,
        config=shlex.quote(str(data.config)),
        logs=f"{data.log('*')}",
        pyflyte=_pyflyte(options.task_python),
        example=_example(),
        endpoint_option="" if plan.endpoint == f"localhost:{DEFAULT_PORT}" else f" --endpoint {plan.endpoint}",
    )


def _pyflyte(task_python: Path) -> str:
    """As short as it works when typed: `pyflyte` if PATH leads to the tasks' own, else its path."""
    beside = task_python.with_name("pyflyte")
    found = shutil.which("pyflyte")
    if found is not None and Path(found).resolve() == beside.resolve():
        return "pyflyte"
    return shlex.quote(_short(beside))


def _example() -> str:
    """The sample that a checkout brings, else a placeholder."""
    sample = Path(__file__).parents[2] / "examples" / "demo.py"
    return f"{shlex.quote(_short(sample))} training_data" if sample.is_file() else "FILE.py WORKFLOW"


def _short(path: Path) -> str:
    """Relative where that is below the current directory."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
