"""Which Python environment a task runs in: container images, which are only names here, mapped to prefixes on disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT = "*"


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment. `prefix` is None when there is none, and tasks have only the system's commands."""

    image: str
    prefix: Path | None

    @property
    def commands(self) -> Path | None:
        """Where its commands are: goes first into the PATH of a task."""
        return None if self.prefix is None else self.prefix / "bin"

    def __str__(self) -> str:
        return f"task environment {self.prefix or 'of the system'} (image {self.image or 'not given'!r})"


class Environments:
    """The mapping of the settings; unknown images get the default `*`."""

    def __init__(self, prefixes: Mapping[str, str], python: Path | None) -> None:
        self._prefixes = {image: Path(prefix) for image, prefix in prefixes.items() if image != DEFAULT}
        self._default = Path(prefixes[DEFAULT]) if DEFAULT in prefixes else _default_prefix(python)

    def of(self, image: str) -> Environment:
        """The environment for `image`, by exact name."""
        return Environment(image, self._prefixes.get(image, self._default))

    @property
    def default(self) -> Environment:
        return Environment(DEFAULT, self._default)


def _default_prefix(python: Path | None) -> Path | None:
    if python is not None:
        return python.parent.parent
    found = shutil.which("pyflyte-execute")
    return None if found is None else Path(found).parent.parent
