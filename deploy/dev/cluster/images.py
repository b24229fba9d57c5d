"""Brings images to the node without a registry."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from deploy.dev.cluster.layout import PAUSE_IMAGE, ROOT, Folders


class ImageError(Exception):
    """An image cannot be brought to the node; the message says which and why."""


def may_be_imported(pid: int) -> bool:
    """Whether the node's containerd listens."""
    return Path("/proc", str(pid), "root", "run/containerd/containerd.sock").exists()


def build(folders: Folders) -> list[str]:
    """Every image of the Dockerfile; their names. Its base is a Debian of this machine's making. Raises ImageError."""
    base = "again"
    if not _checked(["buildah", "images", "--quiet", "--filter", "reference=docker.io/library/python"]):
        root = folders.kept / "debian"
        if not root.is_dir():
            print("making a Debian to build on", flush=True)
            included = "--include=python3,python3-pip,python3-venv,ca-certificates"
            _checked(["debootstrap", "--variant=minbase", included, "bookworm", str(root.with_suffix(".new"))])
            root.with_suffix(".new").rename(root)
        base = str(root)
    print("building images", flush=True)
    built = _checked([str(ROOT / "deploy/docker/build.sh"), base])
    return re.findall(r"^Successfully tagged (\S+)$", built, re.MULTILINE)


def load(folders: Folders, pid: int, images: Mapping[str, str]) -> None:
    """Images of buildah to the names by which manifests know them, if they have changed. Raises ImageError."""
    for image, name in images.items():
        identity = _checked(["buildah", "images", "--quiet", "--no-trunc", image]).strip()
        loaded = folders.containerd / "loaded" / name.replace("/", "_")
        if loaded.is_file() and loaded.read_text() == identity:
            continue
        print(f"loading {name}", flush=True)
        archive = folders.state / "image.tar"
        archive.unlink(missing_ok=True)
        _checked(["buildah", "push", "--quiet", image, f"docker-archive:{archive}:{name}"])
        _import(folders, pid, archive)
        archive.unlink()
        loaded.parent.mkdir(exist_ok=True)
        loaded.write_text(identity)


def import_pause(folders: Folders, pid: int) -> None:
    """What every pod's first container runs. Raises ImageError."""
    archive = folders.state / "pause.tar"
    archive.write_bytes(_image_of(folders.programs / "pause", PAUSE_IMAGE))
    _import(folders, pid, archive)


def _import(folders: Folders, pid: int, archive: Path) -> None:
    inside = ["nsenter", f"--target={pid}", "--mount", "--"]
    ctr = [str(folders.programs / "ctr"), "--namespace=k8s.io", "images", "import", "--local", str(archive)]
    _checked([*inside, *ctr])


def _checked(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(command)}: {done.stderr.strip()[-1000:]}")
    return done.stdout


def _image_of(program: Path, name: str) -> bytes:
    """An image, as Docker saves them, that consists of one static program and runs it."""
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "layer.tar": (layer, 0o644),
            "config.json": (json.dumps(configuration).encode(), 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, (data, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()
