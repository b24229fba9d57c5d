"""Where `admin` is: the same places, in the same order of trust, in which Flyte's own tools look.

--endpoint, AIRSCREW_ENDPOINT        most explicit
FLYTE_PLATFORM_URL                   (and FLYTE_PLATFORM_INSECURE)
FLYTECTL_CONFIG, else ~/.flyte/config.yaml: admin.endpoint, admin.insecure
localhost:30080                      where `airscrew start` listens
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from services.cli.names import UsageError

DEFAULT_ADDRESS = "localhost:30080"
USER_CONFIG = Path("~/.flyte/config.yaml")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gRPC server to talk to."""

    address: str
    """`host:port`."""
    source: str
    """Where this was found, for error messages."""
    secure: bool = False
    """TLS."""


def find(option: str | None, environ: Mapping[str, str]) -> Endpoint:
    """The endpoint to use. `option` is what the command line says, if anything.

    Raises `UsageError` for a configuration file that cannot be read or an address that is none.
    """
    if option:
        return _parsed(option, "--endpoint", secure=False)
    if address := environ.get("AIRSCREW_ENDPOINT"):
        return _parsed(address, "AIRSCREW_ENDPOINT", secure=False)
    if address := environ.get("FLYTE_PLATFORM_URL"):
        insecure = environ.get("FLYTE_PLATFORM_INSECURE", "false").lower() in ("1", "true")
        return _parsed(address, "FLYTE_PLATFORM_URL", secure=not insecure)
    if path := environ.get("FLYTECTL_CONFIG"):
        return _from_file(Path(path)) or _default()
    path_of_user = USER_CONFIG.expanduser()
    return (_from_file(path_of_user) if path_of_user.is_file() else None) or _default()


def _default() -> Endpoint:
    return Endpoint(DEFAULT_ADDRESS, "the default")


def _from_file(path: Path) -> Endpoint | None:
    """The `admin` section of a Flyte configuration; None when it names no endpoint."""
    try:
        content: Any = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the configuration {path}: {str(error).splitlines()[0]}") from error
    admin = content.get("admin") if isinstance(content, dict) else None
    address = admin.get("endpoint") if isinstance(admin, dict) else None
    if not isinstance(admin, dict) or not isinstance(address, str):
        return None
    return _parsed(address, str(path), secure=not admin.get("insecure", False))


def _parsed(text: str, source: str, *, secure: bool) -> Endpoint:
    """Accepts `host:port`, `dns:///host:port`, `http://host:port` and `https://host[:port]`."""
    address = text.removeprefix("dns:///").rstrip("/")
    if address.startswith("https://"):
        address, secure = address.removeprefix("https://"), True
    address = address.removeprefix("http://")
    if ":" not in address and secure:
        address += ":443"
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{text!r} ({source}) is no endpoint: give host:port")
    return Endpoint(address, source, secure)
