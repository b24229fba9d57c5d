"""Secrets that a task asks for: where they come from, and how the task finds them.

They come from what the operator gave this executor, and a task gets those that it (or its execution) names, no others:

* the variable `AIRSCREW_EXECUTOR_SECRET_<GROUP>_<KEY>` of the executor's environment: upper case, whatever is neither
  letter nor digit as `_`;
* else the file `<group>/<key>` in SECRETS_DIR, which is how a mounted Kubernetes secret lies.

A secret with a version is `<group>/<version>/<key>` in both, and no other version stands in for it.

The task finds them where flytekit's `current_context().secrets.get(group, key)` looks: as the variable
`_FSEC_<GROUP>_<KEY>` if it asks for one (ENV_VAR), else as a file of the attempt's private directory (FILE, and ANY, as
in Flyte: an environment is inherited by whatever the task starts, a file is not). One that has a version is also found
without it. A variable of the task's own choice (`env_var`) holds the secret or the path of the file.

A secret is never part of a message or a log line. Its files are readable by the task alone and go with the attempt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flyteidl.core.security_pb2 import Secret, SecurityContext
from google.protobuf.message import DecodeError

from libs.workflow import errors

VARIABLE_PREFIX: Final = "AIRSCREW_EXECUTOR_SECRET_"
_TASK_PREFIX: Final = "_FSEC_"
_FIELD: Final = "security_context.secrets"


class SecretSource:
    """What the operator gave this executor."""

    def __init__(self, directory: Path | None, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._variables = {
            name.removeprefix(VARIABLE_PREFIX): value
            for name, value in environ.items()
            if name.startswith(VARIABLE_PREFIX)
        }

    def find(self, secret: Secret) -> bytes:
        """Raises InvalidArgument when there is none, FailedPrecondition when it cannot be read."""
        parts = _parts(secret)
        given = self._variables.get(re.sub(r"[^A-Z0-9]", "_", "_".join(parts).upper()))
        if given is not None:
            return os.fsencode(given)
        try:
            if self._directory is not None:
                return self._directory.joinpath(*parts).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            pass
        except OSError as error:
            raise errors.FailedPrecondition(f"{_describe(secret)} cannot be read: {error.strerror}") from error
        raise errors.InvalidArgument(
            f"{_FIELD}: {_describe(secret)} is not known to this executor: its operator adds it as file"
            f" {'/'.join(parts)!r} of the secrets directory"
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one task gets."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[Path, bytes] = field(default_factory=dict, repr=False)


def wanted(of_task: SecurityContext, of_execution: bytes) -> tuple[Secret, ...]:
    """What the task asks for, and what its execution adds."""
    try:
        added = SecurityContext.FromString(of_execution).secrets
    except DecodeError as error:
        raise errors.Internal(f"the execution's security context cannot be read: {error}") from error
    return (*of_task.secrets, *added)


def deliver(source: SecretSource, secrets: Iterable[Secret], directory: Path) -> Delivery:
    """Looks them all up; files are to lie below `directory`. Raises what `SecretSource.find` raises."""
    environment: dict[str, str] = {}
    files: dict[Path, bytes] = {}
    for secret in sorted(secrets, key=lambda secret: bool(secret.group_version)):  # its own name before an alias
        content = source.find(secret)
        names = [_parts(secret), _parts(Secret(group=secret.group, key=secret.key))]
        if secret.mount_requirement == Secret.ENV_VAR:
            own = _text(secret, content)
            for parts in names:
                environment.setdefault(_TASK_PREFIX + "_".join(parts).upper(), own)
        else:
            paths = [directory.joinpath(*map(str.lower, parts)) for parts in names]
            for path in paths:
                files.setdefault(path, content)
            own = str(paths[0])
        if secret.env_var:
            environment[_variable(secret)] = own
    if environment:
        environment["FLYTE_SECRETS_ENV_PREFIX"] = _TASK_PREFIX
    if files:
        environment["FLYTE_SECRETS_DEFAULT_DIR"] = str(directory)
    return Delivery(environment, files)


def write(files: Mapping[Path, bytes], below: Path, uid: int | None, gid: int | None) -> None:
    """Makes the files, for their reader only. Raises Unavailable when the disk refuses."""
    try:
        for path, content in files.items():
            for folder in reversed([path.parent, *path.parent.parents]):
                if folder.is_relative_to(below) and not folder.is_dir():
                    folder.mkdir(mode=0o700)
                    _give(folder, uid, gid)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            _give(path, uid, gid)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise errors.InvalidArgument(f"{_FIELD}: the key of one is the version of another: take variables") from None
    except OSError as error:
        raise errors.Unavailable(f"a secret cannot be written: {error.strerror}") from error


def _give(path: Path, uid: int | None, gid: int | None) -> None:
    if uid is not None and gid is not None:
        os.chown(path, uid, gid)


def _parts(secret: Secret) -> tuple[str, ...]:
    """Group, version and key, as far as they are given; each is the name of a file, and never the way to another."""
    parts = tuple(part for part in (secret.group, secret.group_version, secret.key) if part)
    if not parts:
        raise errors.InvalidArgument(f"{_FIELD}: one has neither group nor key")
    for part in parts:
        if part in (".", "..") or set(part) & set("/\0="):
            raise errors.InvalidArgument(f"{_FIELD}: {_describe(secret)}: {part!r} is no plain name")
    return parts


def _describe(secret: Secret) -> str:
    version = f" version {secret.group_version!r}" if secret.group_version else ""
    return f"the secret of group {secret.group!r}{version} with key {secret.key!r}"


def _variable(secret: Secret) -> str:
    if set(secret.env_var) & set("=\0"):
        raise errors.InvalidArgument(f"{_FIELD}: {_describe(secret)}: {secret.env_var!r} is no name of a variable")
    return str(secret.env_var)


def _text(secret: Secret, content: bytes) -> str:
    """As the value of a variable: without the line's end that editors leave."""
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise errors.InvalidArgument(
            f"{_FIELD}: {_describe(secret)} is no text and cannot be a variable: ask for a file (MountType.FILE)"
        )
    return text
