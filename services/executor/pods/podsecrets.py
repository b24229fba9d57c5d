"""Secrets that a task asks for, out of the Secrets of its pod's namespace. Pure: nothing of them passes through us.

As Flyte's webhook does it: a secret's group is the name of a Secret, its key a key of that. The task finds it where
flytekit looks: as the variable `_FSEC_<GROUP>_<KEY>` (ENV_VAR), or as the file `/etc/flyte/secrets/<group>/<key>`
(FILE, and ANY). A variable of its own choice holds the secret, or the path of its file.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from flyteidl.core.security_pb2 import Secret

from libs.workflow import errors

DIRECTORY: Final = "/etc/flyte/secrets"
_VARIABLE_PREFIX: Final = "_FSEC_"
_FIELD: Final = "security_context.secrets"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What containers and pod get."""

    env: tuple[dict[str, Any], ...] = ()
    mounts: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()


def deliver(secrets: Iterable[Secret]) -> Delivery:
    """Raises InvalidArgument for a secret that cannot be one of Kubernetes."""
    env: dict[str, dict[str, Any]] = {}
    files: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for secret in secrets:
        _check(secret)
        if secret.mount_requirement == Secret.ENV_VAR:
            source: dict[str, Any] = {"valueFrom": {"secretKeyRef": {"name": secret.group, "key": secret.key}}}
            env[f"{_VARIABLE_PREFIX}{secret.group}_{secret.key}".upper()] = source
            env["FLYTE_SECRETS_ENV_PREFIX"] = {"value": _VARIABLE_PREFIX}
        else:
            files[secret.group][secret.key] = secret.key.lower()
            source = {"value": f"{DIRECTORY}/{secret.group}/{secret.key.lower()}"}
            env["FLYTE_SECRETS_DEFAULT_DIR"] = {"value": DIRECTORY}
        if secret.env_var:
            env[secret.env_var] = source
    return Delivery(
        env=tuple({"name": name, **source} for name, source in env.items()),
        mounts=tuple(
            {"name": _volume(group), "mountPath": f"{DIRECTORY}/{group}", "readOnly": True} for group in files
        ),
        volumes=tuple(
            {
                "name": _volume(group),
                "secret": {
                    "secretName": group,
                    "items": [{"key": key, "path": path} for key, path in sorted(keys.items())],
                },
            }
            for group, keys in files.items()
        ),
    )


def _check(secret: Secret) -> None:
    if secret.group_version:
        raise errors.InvalidArgument(
            f"{_FIELD}: {secret.group!r} is asked for in version {secret.group_version!r}: Secrets of Kubernetes have"
            " none, so put the version into the group"
        )
    if not _NAME.fullmatch(secret.group):
        raise errors.InvalidArgument(f"{_FIELD}: group {secret.group!r} cannot be the name of a Secret of Kubernetes")
    if not _KEY.fullmatch(secret.key) or secret.key in (".", ".."):
        raise errors.InvalidArgument(f"{_FIELD}: key {secret.key!r} of {secret.group!r} cannot be that of a Secret")
    if "=" in secret.env_var:
        raise errors.InvalidArgument(f"{_FIELD}: {secret.env_var!r} is no name of a variable")


def _volume(group: str) -> str:
    return f"secret-{hashlib.sha256(group.encode()).hexdigest()[:10]}"
