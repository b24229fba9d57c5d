"""The programs of the cluster: what each is told, by arguments and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.dev.cluster import pki
from deploy.dev.cluster.layout import DOMAIN, NODE, NODE_IP, PAUSE_IMAGE, PODS, SERVICES, Folders

_CONTAINERD_SOCKET: Final = "/run/containerd/containerd.sock"


@dataclass(frozen=True)
class Component:
    """A process of the cluster; begun anew when it ends."""

    name: str
    command: tuple[str, ...]


def write_configuration(folders: Folders) -> None:
    """Every file that a component reads; the certificates exist already."""
    folders.configuration.mkdir(parents=True)
    for user in pki.USERS:
        file = folders.configuration / f"{user}.kubeconfig"
        file.write_text(pki.kubeconfig(folders.certificates, user))
        file.chmod(0o600)
    folders.kubeconfig.write_text(pki.kubeconfig(folders.certificates, "admin"))
    folders.kubeconfig.chmod(0o600)
    texts = {
        "containerd.toml": _containerd(folders),
        "cni/10-pods.conflist": json.dumps(_NETWORK, indent=1),
        "kubelet.json": json.dumps(_kubelet(folders), indent=1),
        "kube-proxy.json": json.dumps(_kube_proxy(folders), indent=1),
        "Corefile": _corefile(folders),
        "resolv.conf": f"nameserver {NODE_IP}\n",
    }
    for name, text in texts.items():
        (folders.configuration / name).parent.mkdir(exist_ok=True)
        (folders.configuration / name).write_text(text)


def control_plane(folders: Folders, etcd: Path) -> tuple[Component, ...]:
    """etcd and the API server, which the others wait for."""
    return (
        _component(
            etcd,
            {
                "name": NODE,
                "data-dir": folders.state / "etcd",
                "listen-client-urls": "http://127.0.0.1:2379",
                "advertise-client-urls": "http://127.0.0.1:2379",
                "listen-peer-urls": "http://127.0.0.1:2380",
                "unsafe-no-fsync": "true",
                "log-level": "warn",
            },
        ),
        _component(
            folders.programs / "kube-apiserver",
            {
                "advertise-address": NODE_IP,
                "allow-privileged": "true",
                "authorization-mode": "Node,RBAC",
                "client-ca-file": folders.certificates / "ca.crt",
                "enable-admission-plugins": "NodeRestriction",
                "etcd-servers": "http://127.0.0.1:2379",
                "kubelet-certificate-authority": folders.certificates / "ca.crt",
                "kubelet-client-certificate": folders.certificates / "apiserver-kubelet-client.crt",
                "kubelet-client-key": folders.certificates / "apiserver-kubelet-client.key",
                "kubelet-preferred-address-types": "InternalIP",
                "service-account-issuer": f"https://kubernetes.default.svc.{DOMAIN}",
                "service-account-key-file": folders.certificates / "service-accounts.pub",
                "service-account-signing-key-file": folders.certificates / "service-accounts.key",
                "service-cluster-ip-range": SERVICES,
                "tls-cert-file": folders.certificates / "apiserver.crt",
                "tls-private-key-file": folders.certificates / "apiserver.key",
            },
        ),
    )


def the_rest(folders: Folders) -> tuple[Component, ...]:
    """What makes the API server's objects true."""
    programs, configuration = folders.programs, folders.configuration
    return (
        _component(programs / "containerd", {"config": configuration / "containerd.toml"}),
        _component(
            programs / "kube-controller-manager",
            {
                "kubeconfig": configuration / "controller-manager.kubeconfig",
                "leader-elect": "false",
                "root-ca-file": folders.certificates / "ca.crt",
                "service-account-private-key-file": folders.certificates / "service-accounts.key",
                "use-service-account-credentials": "true",
            },
        ),
        _component(
            programs / "kube-scheduler",
            {"kubeconfig": configuration / "scheduler.kubeconfig", "leader-elect": "false"},
        ),
        _component(
            programs / "kubelet",
            {
                "config": configuration / "kubelet.json",
                "hostname-override": NODE,
                "kubeconfig": configuration / "kubelet.kubeconfig",
                "node-ip": NODE_IP,
            },
        ),
        _component(programs / "kube-proxy", {"config": configuration / "kube-proxy.json"}),
        Component("coredns", (str(programs / "coredns"), "-conf", str(configuration / "Corefile"))),
    )


def _component(program: Path, flags: Mapping[str, object]) -> Component:
    return Component(program.name, (str(program), *(f"--{name}={value}" for name, value in flags.items())))


_NETWORK: Final = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "ptp",
            "mtu": 1400,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni/addresses",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}
"""A cable from each pod to the node, which routes: no bridge, whose packets would have to be shown to iptables."""


def _containerd(folders: Folders) -> str:
    """Its OOM scores stay at or above its own: to lower them takes CAP_SYS_RESOURCE, which not every machine grants."""
    return f"""\
version = 3
root = "{folders.containerd}"
state = "/run/containerd"
[grpc]
address = "{_CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{folders.plugins}"]
conf_dir = "{folders.configuration}/cni"
use_internal_loopback = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _kubelet(folders: Folders) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(folders.certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [NODE_IP],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{_CONTAINERD_SOCKET}",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "oomScoreAdj": 0,
        "podLogsDir": str(folders.logs / "pods"),
        "resolvConf": str(folders.configuration / "resolv.conf"),
        "tlsCertFile": str(folders.certificates / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(folders.certificates / "kubelet-server.key"),
    }


def _kube_proxy(folders: Folders) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(folders.configuration / "kube-proxy.kubeconfig")},
        "clusterCIDR": PODS,
        # How many connections the kernel tracks is a setting of the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "hostnameOverride": NODE,
        "mode": "iptables",
        "oomScoreAdj": 0,
    }


def _corefile(folders: Folders) -> str:
    return f"""\
.:53 {{
    errors
    ready
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {folders.configuration}/coredns.kubeconfig
        pods insecure
    }}
    cache 5
    loadbalance
}}
"""
