"""Prints the folders of the servers that the tests run, PostgreSQL and Redis, fetched if this machine has none.

Without root and without changing the system: the distribution's own package and whatever of its dependencies is not
installed, downloaded with a private state of apt and unpacked into the cache. The unpacked programs need to be told
where their libraries are, so that the folder holds small scripts that do.

Usage: `PATH="$(python deploy/dev/find_servers.py):$PATH" pytest …`; a reason on stderr and exit code 1 when there is
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
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """What is looked for; the first of the programs is the server itself."""

    package: str
    programs: tuple[str, ...]
    folder: str
    """Where Debian and Ubuntu put the programs, as a pattern; of several that fit, the newest release."""


SERVERS = (
    Server("postgresql", ("postgres", "initdb", "pg_ctl", "psql"), "usr/lib/postgresql/*/bin"),
    Server("redis-server", ("redis-server",), "usr/bin"),
)


class NoServerError(Exception):
    """This machine has no such server and none can be fetched; the message says why."""


def find(server: Server) -> Path:
    """The folder that holds the programs of a server."""
    on_path = shutil.which(server.programs[0])
    if on_path is not None:
        return Path(on_path).parent
    cached = _cache() / server.package
    return _newest(Path("/"), server) or _scripts_in(cached) or _fetch(cached, server)


def _cache() -> Path:
    """Root's server gives up its rights when it starts, so that its files cannot be in root's home."""
    if os.geteuid() == 0:
        return Path("/var/cache/airscrew")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airscrew"


def _newest(prefix: Path, server: Server) -> Path | None:
    """The programs of the newest release below `prefix`."""
    releases = [path.parent for path in prefix.glob(f"{server.folder}/{server.programs[0]}")]
    return max(releases, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)], default=None)


def _scripts_in(folder: Path) -> Path | None:
    scripts = folder / "scripts"
    return scripts if scripts.is_dir() else None


def _fetch(target: Path, server: Server) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        packages = _download(folder / "apt", server)
        for package in packages:
            _run("dpkg-deb", "--extract", str(package), str(folder / "kept"))
        _write_scripts(folder / "kept", target, server)
        (folder / "kept").chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        (folder / "kept").rename(target)
    return target / "scripts"


def _download(folder: Path, server: Server) -> list[Path]:
    """The packages that installing the server would bring to this machine."""
    for needed in ("lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    private = [f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/cache", "-oAPT::Sandbox::User=root"]
    _run("apt-get", *private, "update", timeout_seconds=240)
    plan = _run("apt-get", *private, "install", "--simulate", "--no-install-recommends", server.package)
    missing = [f"{name}={version}" for name, version in re.findall(r"^Inst (\S+) \((\S+) ", plan, re.MULTILINE)]
    if not missing:
        raise NoServerError("the package is installed, but its server is not where it should be")
    _run("apt-get", *private, "download", *missing, cwd=folder, timeout_seconds=400)
    return sorted(folder.glob("*.deb"))


def _write_scripts(unpacked: Path, target: Path, server: Server) -> None:
    programs = _newest(unpacked, server)
    if programs is None:
        raise NoServerError("the package holds no server")
    libraries = sorted({str(target / path.parent.relative_to(unpacked)) for path in unpacked.glob("usr/lib/**/*.so.*")})
    scripts = unpacked / "scripts"
    scripts.mkdir()
    for program in server.programs:
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
        raise NoServerError(str(error)) from error
    if done.returncode:
        raise NoServerError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    folders = []
    for server in SERVERS:
        try:
            folders.append(str(find(server)))
        except NoServerError as error:
            name = server.package
            print(f"no {name}: install the package `{name}`. Tried to fetch it: {error}", file=sys.stderr)
            raise SystemExit(1) from error
    print(":".join(folders))
