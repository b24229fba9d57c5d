"""Where everything of the development cluster is: folders, addresses, names.

The node lives in namespaces of its own (`node`), so that its addresses are seen from outside only through one virtual
cable, and disappear with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
SOURCES: Final = Path(__file__).resolve().parent

NODE: Final = "airscrew"
"""The name of the node, and what begins the name of everything that this machine sees of it."""

CABLE: Final = "airscrew-node"
"""This machine's end of the cable to the node."""

HOST_IP: Final = "10.88.0.1"
NODE_IP: Final = "10.88.0.2"
PODS: Final = "10.244.0.0/24"
SERVICES: Final = "10.96.0.0/16"
API_IP: Final = "10.96.0.1"
"""The first address of the Services is the API server's, by convention."""

API: Final = f"https://{NODE_IP}:6443"
DOMAIN: Final = "cluster.local"
PAUSE_IMAGE: Final = "localhost/pause:1"


@dataclass(frozen=True)
class Folders:
    """The cluster's files; `kept` outlives the cluster, `state` is new with each."""

    kept: Path = ROOT / ".cache/cluster"

    @property
    def programs(self) -> Path:
        return self.kept / "bin"

    @property
    def plugins(self) -> Path:
        """What gives a pod its network (CNI)."""
        return self.kept / "cni"

    @property
    def containerd(self) -> Path:
        """Images, which a new cluster finds again."""
        return self.kept / "containerd"

    @property
    def state(self) -> Path:
        return self.kept / "state"

    @property
    def certificates(self) -> Path:
        return self.state / "pki"

    @property
    def configuration(self) -> Path:
        return self.state / "etc"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def volumes(self) -> Path:
        """One folder each for those who claim a persistent volume."""
        return self.state / "volumes"

    @property
    def pid(self) -> Path:
        """The process that holds the node's namespaces, as this machine numbers it."""
        return self.state / "pid"

    @property
    def kubeconfig(self) -> Path:
        return self.kept / "kubeconfig"
