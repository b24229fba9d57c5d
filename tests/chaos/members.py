"""An etcd cluster of three members on this machine, each of which can be taken away."""

from __future__ import annotations

import http.client
import json
import secrets
from pathlib import Path
from typing import Any

from services.standalone import ports
from services.standalone.etcd import Etcd

MEMBERS = ("etcd-1", "etcd-2", "etcd-3")


class Members:
    """The ports and command lines of the members. `peers` are the addresses under which they reach each other."""

    def __init__(self, etcd: Etcd, folder: Path, taken: set[int]) -> None:
        self._etcd = etcd
        self._folder = folder
        self._token = secrets.token_hex(8)
        self.client_ports = {name: ports.free(taken) for name in MEMBERS}
        self.peer_ports = {name: ports.free(taken) for name in MEMBERS}
        self.peers: dict[str, str] = {}

    def command(self, name: str) -> list[str]:
        """What runs member `name`; the same again after its death."""
        clients = f"http://{ports.LOOPBACK}:{self.client_ports[name]}"
        flags = {
            "name": name,
            "data-dir": str(self._folder / name),
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": f"http://{ports.LOOPBACK}:{self.peer_ports[name]}",
            "initial-advertise-peer-urls": self.peers[name],
            "initial-cluster": ",".join(f"{member}={self.peers[member]}" for member in MEMBERS),
            "initial-cluster-token": self._token,
            # etcd's own defaults: what production has.
            "heartbeat-interval": "100",
            "election-timeout": "1000",
            "log-level": "error",
        }
        return [str(self._etcd.path), *(f"--{flag}={value}" for flag, value in flags.items())]

    def leader(self) -> str | None:
        """Which member leads now, as any of them says; None when nobody knows."""
        for name in MEMBERS:
            said = _status(self.client_ports[name])
            if said is None or said.get("leader", "0") == "0":
                continue
            for other in MEMBERS:
                found = _status(self.client_ports[other])
                if found is not None and found["header"]["member_id"] == said["leader"]:
                    return other
        return None


def _status(port: int) -> dict[str, Any] | None:
    connection = http.client.HTTPConnection(ports.LOOPBACK, port, timeout=1)
    try:
        connection.request("POST", "/v3/maintenance/status", "{}")
        said: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return said if "header" in said else None
