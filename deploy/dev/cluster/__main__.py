"""`make cluster`: a Kubernetes of one node on this machine, for development and checks; docs/development.md says more.

Needs Linux, root, iptables, runc and, for the first time, Go.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from deploy.dev.cluster import components, images, node, parts, pki
from deploy.dev.cluster.layout import CABLE, HOST_IP, NODE, NODE_IP, PODS, ROOT, SERVICES, SOURCES, Folders
from services.standalone.etcd import find_etcd

_NEEDED: Final = {"ip": "iproute2", "iptables": "iptables", "runc": "runc", "unshare": "util-linux"}
_READY_SECONDS: Final = 120
_STOP_SECONDS: Final = 20


class ClusterError(Exception):
    """The cluster cannot be started; the message says why and what to do."""


def up(folders: Folders) -> None:
    """Builds what is missing and starts the cluster; returns when pods can be started. Raises ClusterError."""
    if running(folders) is not None:
        _tell(folders)
        return
    _check_machine()
    parts.build(folders)
    down(folders)
    began = time.monotonic()
    for folder in (folders.state, folders.logs, folders.containerd):
        folder.mkdir(parents=True, exist_ok=True)
    pki.write_all(folders.certificates)
    components.write_configuration(folders)
    pid = _start_node(folders)
    folders.pid.write_text(str(pid))
    try:
        _connect(pid)
        _wait_until_ready(folders, pid)
    except ClusterError:
        os.kill(pid, signal.SIGKILL)
        print(f"what the cluster said is in {folders.logs}", file=sys.stderr)
        raise
    _run(_kubectl(folders, "apply", "--filename", SOURCES / "system.yaml"))
    for volume in _volumes(folders):
        _run(_kubectl(folders, "apply", "--filename", "-"), json.dumps(volume))
    print(f"ready after {time.monotonic() - began:.1f} s")
    _tell(folders)


def down(folders: Folders) -> None:
    """Ends the cluster and all that was in it; only what was built, and images, are kept."""
    pid = running(folders)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        _wait_until(lambda: not _is_cabled(), "the interface is gone")
    elif _is_cabled():
        return  # another checkout's
    for folder in _cgroups():
        _wait_until(partial(_removed, folder), f"nothing is left in {folder}")
    shutil.rmtree(folders.state, ignore_errors=True)
    folders.kubeconfig.unlink(missing_ok=True)


def _is_cabled() -> bool:
    """Whether there is a node on this machine; its end of the cable goes with it."""
    return Path(f"/sys/class/net/{CABLE}").exists()


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()  # else its processes are still ending
    return True


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {_STOP_SECONDS} s: {what}")
        time.sleep(0.05)


def running(folders: Folders) -> int | None:
    """The first process of the node, if it is there."""
    try:
        pid = int(folders.pid.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if name == node.NAME else None


def _tell(folders: Folders) -> None:
    print(f"export KUBECONFIG={folders.kubeconfig}")


def _check_machine() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError("a node needs Linux and root")
    missing = [package for program, package in _NEEDED.items() if not shutil.which(program)]
    if missing:
        raise ClusterError(f"this machine lacks {', '.join(missing)}: apt-get install {' '.join(missing)}")
    if _is_cabled():
        raise ClusterError(f"another cluster runs on this machine: it has the interface {CABLE}")


def _start_node(folders: Folders) -> int:
    etcd = find_etcd().path
    with (folders.logs / "node.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", node.__name__, "enter", str(folders.kept), str(etcd)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for child in children.read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == node.NAME:
                return int(child)
        time.sleep(0.02)
    raise ClusterError(f"the node does not start: {(folders.logs / 'node.log').read_text()[-2000:]}")


def _connect(pid: int) -> None:
    """One cable from this machine to the node, and behind it the addresses of pods and Services."""
    _run(["ip", "link", "add", CABLE, "type", "veth", "peer", "name", node.EDGE, "netns", str(pid)])
    _run(["ip", "address", "add", f"{HOST_IP}/30", "dev", CABLE])
    _run(["ip", "link", "set", CABLE, "up"])
    for network in (PODS, SERVICES):
        _run(["ip", "route", "add", network, "via", NODE_IP, "dev", CABLE])


def _wait_until_ready(folders: Folders, pid: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    imported = False
    while time.monotonic() < deadline:
        if running(folders) != pid:
            raise ClusterError(f"the node ended: {(folders.logs / 'node.log').read_text()[-2000:]}")
        if not imported and images.may_be_imported(pid):
            images.import_pause(folders, pid)
            imported = True
        asked = ["get", "node", NODE, "--output", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"]
        done = subprocess.run(_kubectl(folders, *asked), capture_output=True, text=True, check=False)
        if imported and done.stdout == "True":
            return
        time.sleep(0.2)
    raise ClusterError(f"the node is not ready after {_READY_SECONDS} s")


def _volumes(folders: Folders) -> Iterator[dict[str, Any]]:
    """Folders for those who claim one: a fixed number, as nobody here makes any on demand."""
    for number in range(20):
        folder = folders.volumes / str(number)
        folder.mkdir(parents=True)
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"local-{number}"},
            "spec": {
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "local",
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": str(folder)},
                "nodeAffinity": {
                    "required": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
                                ]
                            }
                        ]
                    }
                },
            },
        }


def _cgroups() -> Iterator[Path]:
    """The node's, the innermost first."""
    for top in [*node.CGROUPS.glob(f"*/{node.CGROUP}"), *node.CGROUPS.glob(node.CGROUP)]:
        for folder, _, _ in os.walk(top, topdown=False):
            yield Path(folder)


def _kubectl(folders: Folders, *arguments: str | Path) -> list[str]:
    return [str(ROOT / ".venv/bin/kubectl"), "--kubeconfig", str(folders.kubeconfig), *map(str, arguments)]


def _run(command: list[str], told: str | None = None) -> None:
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make cluster", description="a Kubernetes of one node on this machine")
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("start", help="build it, once, and start it (the default)")
    verbs.add_parser("stop", help="end it, and all that ran on it")
    verbs.add_parser("load", help="make images that buildah has known to it").add_argument("image", nargs="+")
    verbs.add_parser("images", help="build the images of the Dockerfile, and make them known to it")
    asked = parser.parse_args()
    folders = Folders()
    try:
        if asked.verb == "stop":
            down(folders)
        elif asked.verb in ("load", "images"):
            pid = running(folders)
            if pid is None:
                raise ClusterError("no cluster runs: `make cluster` starts one")
            named = asked.image if asked.verb == "load" else images.build(folders)
            images.load(folders, pid, {image: image for image in named})
        else:
            up(folders)
    except (ClusterError, parts.PartError, images.ImageError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
