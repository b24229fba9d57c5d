"""The node: namespaces of its own, and in them the processes of the cluster.

Whatever the cluster does to a machine (mounts, network interfaces, iptables, sysctls of the network, processes) it does
to these namespaces, and the kernel takes it back when their first process ends. Two things all namespaces share:

- cgroups: the node has one of its own in each hierarchy, and sees it as the root. Who stops the node removes them.
- sysctls that are not the network's: the kubelet wants some to be as it likes. Here it finds them so: files that say so
  lie over them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final

from deploy.dev.cluster import components
from deploy.dev.cluster.components import Component
from deploy.dev.cluster.layout import API, NODE_IP, Folders

CGROUPS: Final = Path("/sys/fs/cgroup")
CGROUP: Final = "airscrew-cluster"
NAME: Final = "airscrew-node"
"""What the first process calls itself."""
EDGE: Final = "eth0"
"""The node's end of the cable."""

_LIKED: Final = {
    "kernel/keys/root_maxbytes": "25000000",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
}
"""Sysctls as the kubelet wants them (k8s.io/component-helpers/node/util/sysctl)."""

_START_SECONDS: Final = 60


def hierarchies() -> list[str]:
    """The cgroup hierarchies of version 1 that this machine mounts, by their folder."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(point).name for _, point, kind, *_ in mounts if kind == "cgroup" and Path(point).parent == CGROUPS]


def enter() -> None:
    """Becomes the node: joins its cgroups and goes on as the first process of new namespaces."""
    names = hierarchies()
    folders = [CGROUPS / name / CGROUP for name in names] or [CGROUPS / CGROUP]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            # Nobody may join a cpuset that is not told what it has.
            if names and (folder / file).exists():
                (folder / file).write_text((folder.parent / file).read_text())
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    namespaces = ["--mount", "--net", "--pid", "--cgroup", "--ipc", "--uts"]
    command = ["unshare", *namespaces, "--fork", "--kill-child", "--mount-proc"]
    os.execvp(command[0], [*command, sys.executable, "-m", __spec__.name, "inside", *sys.argv[2:], *names])


def _run(*command: str | Path) -> None:
    subprocess.run([str(each) for each in command], check=True)


def _furnish(folders: Folders, cgroups: list[str]) -> None:
    """Mounts, network and settings, all of them the node's own."""
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    if cgroups:
        _run("mount", "-t", "tmpfs", "tmpfs", CGROUPS)
        for name in cgroups:
            (CGROUPS / name).mkdir()
            options = "none,name=systemd" if name == "systemd" else name
            _run("mount", "-t", "cgroup", "-o", options, "cgroup", CGROUPS / name)
    else:
        _run("mount", "-t", "cgroup2", "cgroup2", CGROUPS)
    for place in ("/run", "/var/log"):
        _run("mount", "-t", "tmpfs", "tmpfs", place)
    for name in ("upper", "work", "kubelet", "sysctl"):
        (folders.state / "lib" / name).mkdir(parents=True)
    # What is written to /var/lib lies elsewhere; the kubelet's folder is on a real file system, whose size it asks for.
    upper, work = folders.state / "lib/upper", folders.state / "lib/work"
    _run("mount", "-t", "overlay", "-o", f"lowerdir=/var/lib,upperdir={upper},workdir={work}", "lib", "/var/lib")
    Path("/var/lib/kubelet").mkdir(exist_ok=True)
    _run("mount", "--bind", folders.state / "lib/kubelet", "/var/lib/kubelet")
    for name, value in _LIKED.items():
        file = folders.state / "lib/sysctl" / name.replace("/", ".")
        file.write_text(f"{value}\n")
        _run("mount", "--bind", file, Path("/proc/sys") / name)
    _run("mount", "--make-rshared", "/")

    socket.sethostname("airscrew")
    deadline = time.monotonic() + _START_SECONDS
    while EDGE not in (name for _, name in socket.if_nameindex()):
        if time.monotonic() > deadline:
            raise SystemExit("nobody has brought the cable")
        time.sleep(0.01)
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{NODE_IP}/30", "dev", EDGE)
    _run("ip", "link", "set", EDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


class _Supervisor:
    """Starts the components, starts anew those that end, and takes the ends of all other processes: it is the first."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._running: dict[int, Component] = {}

    def start(self, component: Component) -> None:
        programs = f"{self._folders.programs}:{os.environ['PATH']}"
        with (self._folders.logs / f"{component.name}.log").open("ab") as log:
            process = subprocess.Popen(
                component.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": programs, "HOME": "/run"},
                start_new_session=True,
            )
        self._running[process.pid] = component
        process.returncode = 0  # its end is taken below, together with those of orphans

    def watch(self) -> None:
        while True:
            pid, status = os.waitpid(-1, 0)
            ended = self._running.pop(pid, None)
            if ended is not None:
                print(f"{ended.name} ended with {os.waitstatus_to_exitcode(status)}; begun anew", flush=True)
                time.sleep(1)
                self.start(ended)


def _wait_for_api(folders: Folders) -> None:
    context = ssl.create_default_context(cafile=str(folders.certificates / "ca.crt"))
    certificate = folders.certificates / "admin.crt"
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{API}/readyz", context=context, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def inside(folders: Folders, etcd: Path) -> None:
    """What the first process of the node does, for as long as the node is."""
    # A signal whose action is the default one does nothing to the first process of a namespace.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ctypes.CDLL(None).prctl(15, NAME.encode(), 0, 0, 0)
    _furnish(folders, sys.argv[4:])
    supervisor = _Supervisor(folders)
    for component in components.control_plane(folders, etcd):
        supervisor.start(component)
    _wait_for_api(folders)
    for component in components.the_rest(folders):
        supervisor.start(component)
    supervisor.watch()


if __name__ == "__main__":
    if sys.argv[1] == "enter":
        enter()
    else:
        inside(Folders(Path(sys.argv[2])), Path(sys.argv[3]))
