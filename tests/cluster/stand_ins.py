"""Images in the place of those that the overlay `dev` takes from registries: real servers, from other packages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from deploy.dev.cluster import parts
from deploy.dev.cluster.layout import Folders
from services.standalone.etcd import find_etcd
from tests.support.manifests import ROOT

_SOURCES: Final = Path(__file__).parent / "stand_ins"

NAMES: Final = {
    "collector": "docker.io/otel/opentelemetry-collector-contrib",
    "etcd": "gcr.io/etcd-development/etcd",
    "jaeger": "docker.io/jaegertracing/jaeger",
    "minio": "quay.io/minio/minio",
    "postgres": "docker.io/library/postgres",
    "redis": "docker.io/library/redis",
}
"""Target of the Containerfile to what it stands for; which release, the manifests say."""


def build(folders: Folders) -> dict[str, str]:
    """Builds them all, on the base that `make images` left; their names in buildah to those in the manifests."""
    context = folders.kept / "stand-ins"
    parts.install(_SOURCES / "collector", ["."], context, name="collector")
    parts.install(_SOURCES / "minio", ["github.com/minio/minio"], context)
    parts.install(_SOURCES / "jaeger", ["github.com/jaegertracing/jaeger/cmd/jaeger"], context)
    shutil.copy2(find_etcd().path, context / "etcd")
    shutil.copy2(_SOURCES / "postgres.sh", context)
    for target in NAMES:
        command = ["buildah", "bud", "--quiet", "--format=oci", "--isolation=chroot", "--network=host", "--pull-never"]
        options = [f"--build-arg=PYTHON={_python()}", "--layers", f"--target={target}", f"--tag={_ours(target)}"]
        done = subprocess.run(
            [*command, *options, f"--file={_SOURCES / 'Containerfile'}", str(context)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{target}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return {_ours(target): _in_manifests(name) for target, name in NAMES.items()}


def _ours(target: str) -> str:
    return f"localhost/airscrew-stand-in-{target}:dev"


def _python() -> str:
    """Of the base image that the machine has."""
    listed = subprocess.run(
        ["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"], capture_output=True, text=True, check=True
    )
    found = re.search(r"^docker.io/library/python:(.*)-slim-bookworm$", listed.stdout, re.MULTILINE)
    assert found, "no base image: `make images BASE=FOLDER` first"
    return found.group(1)


def _in_manifests(name: str) -> str:
    for manifest in sorted((ROOT / "deploy/k8s").rglob("*.yaml")):
        found = re.search(rf"image: ({re.escape(name)}:\S+)", manifest.read_text())
        if found:
            return found.group(1)
    raise AssertionError(f"no manifest names {name}")
