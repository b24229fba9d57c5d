"""Prints the folder of PostgreSQL's server programs for the tests, fetched if this machine has none.

Without root and without changing the system: the distribution's own package and whatever of its dependencies is not
installed, downloaded with a private state of apt and unpacked into the cache. The unpacked programs need to be told
where their libraries are, so that the folder holds small scripts that do.

Usage: `PATH="$(python deploy/dev/find_postgres.py):$PATH" pytest …`; a reason on stderr and exit code 1 when there is
no way.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = ("postgres", "initdb", "pg_ctl", "psql")


class NoPostgresError(Exception):
    """This machine has no PostgreSQL and none can be fetched; the message says why."""


def find() -> Path:
    """The folder that holds PROGRAMS."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).parent
    cached = _cache() / "postgresql"
    return _newest(Path("/")) or _scripts_in(cached) or _fetch(cached)


def _cache() -> Path:
    """Root's server gives up its rights when it starts, so that its files cannot be in root's home."""
    if os.geteuid() == 0:
        return Path("/var/cache/airscrew")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airscrew"


def _newest(prefix: Path) -> Path | None:
    """The programs of the newest release below `prefix`, in the place where Debian and Ubuntu put them."""
    releases = [path.parent for path in prefix.glob("usr/lib/postgresql/*/bin/postgres")]
    return max(releases, key=lambda path: float(path.parent.name), default=None)


def _scripts_in(folder: Path) -> Path | None:
    scripts = folder / "scripts"
    return scripts if scripts.is_dir() else None


def _fetch(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        packages = _download(folder / "apt")
        for package in packages:
            _run("dpkg-deb", "--extract", str(package), str(folder / "kept"))
        _write_scripts(folder / "kept", target)
        (folder / "kept").chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        (folder / "kept").rename(target)
    return target / "scripts"


def _download(folder: Path) -> list[Path]:
    """The packages that installing PostgreSQL would bring to this machine."""
    for needed in ("lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    private = [f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/cache", "-oAPT::Sandbox::User=root"]
    _run("apt-get", *private, "update", timeout_seconds=240)
    plan = _run("apt-get", *private, "install", "--simulate", "--no-install-recommends", "postgresql")
    missing = [f"{name}={version}" for name, version in re.findall(r"^Inst (\S+) \((\S+) ", plan, re.MULTILINE)]
    if not missing:
        raise NoPostgresError("the package is installed, but its server is not where it should be")
    _run("apt-get", *private, "download", *missing, cwd=folder, timeout_seconds=400)
    return sorted(folder.glob("*.deb"))


def _write_scripts(unpacked: Path, target: Path) -> None:
    programs = _newest(unpacked)
    if programs is None:
        raise NoPostgresError("the package holds no server")
    libraries = sorted({str(target / path.parent.relative_to(unpacked)) for path in unpacked.glob("usr/lib/**/*.so.*")})
    scripts = unpacked / "scripts"
    scripts.mkdir()
    for program in PROGRAMS:
        script = scripts / program
        real = shlex.quote(str(target / programs.relative_to(unpacked) / program))
        path = shlex.quote(":".join(libraries))
        script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={path} exec {real} "$@"\n')
        script.chmod(0o755)


def _run(*command: str, cwd: Path | None = None, timeout_seconds: float = 120) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPostgresError(str(error)) from error
    if done.returncode:
        raise NoPostgresError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        print(find())
    except NoPostgresError as error:
        print(f"no PostgreSQL: install the package `postgresql`. Tried to fetch it: {error}", file=sys.stderr)
        raise SystemExit(1) from error
