"""A real kube-apiserver for tests, where this machine has one: no nodes, no controllers, its own etcd.

`AIRSCREW_TEST_KUBE_APISERVER` is the path of the program; `AIRSCREW_TEST_KUBECONFIG` names a cluster that runs already,
and wins. To look at it with kubectl: `python -m tests.support.kube_apiserver PATH` serves until Ctrl-C.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.standalone import ports
from services.standalone.etcd import EtcdServer, find_etcd
from tests.support.kubernetes import kubeconfig

PROGRAM: Final = "AIRSCREW_TEST_KUBE_APISERVER"
CLUSTER: Final = "AIRSCREW_TEST_KUBECONFIG"
SERVERS: Final = ("fake", "real") if os.environ.get(CLUSTER) or os.environ.get(PROGRAM) else ("fake",)
"""What tests that run on any API server run on here."""

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_TOKEN: Final = "test"  # of a server on the loop-back interface that lives as long as the tests


class KubeApiserver:
    """One server. Whoever has its `kubeconfig` may do everything."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._etcd = EtcdServer(find_etcd(), folder / "etcd")
        self._port = ports.free(set())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        return self._folder / "kubeconfig"

    def start(self) -> None:
        """Returns when it answers."""
        self._etcd.start()
        self._age()
        key = self._folder / "accounts.key"
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{_TOKEN},tester,tester,system:masters\n")
        options = {
            "etcd-servers": f"http://{self._etcd.endpoint}",
            "bind-address": "127.0.0.1",
            "secure-port": str(self._port),
            "cert-dir": str(self._folder / "certificates"),
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(key),
            "service-account-signing-key-file": str(key),
            "service-cluster-ip-range": "10.0.0.0/24",
            "token-auth-file": str(tokens),
            # No controller makes service accounts, or says where the server is.
            "disable-admission-plugins": "ServiceAccount",
            "endpoint-reconciler-type": "none",
        }
        command = [str(self._program), *(f"--{name}={value}" for name, value in options.items())]
        with (self._folder / "apiserver.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._wait_until_ready()
        authority = str(self._folder / "certificates" / "apiserver.crt")
        cluster = {"server": f"https://127.0.0.1:{self._port}", "certificate-authority": authority}
        self.kubeconfig.write_text(yaml.safe_dump(kubeconfig(cluster, {"token": _TOKEN}, "default")))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._etcd.stop()

    def _age(self) -> None:
        """Gives etcd a past, so that there are versions that are too old."""
        body = json.dumps({"key": base64.b64encode(b"/past").decode(), "value": ""}).encode()
        for _ in range(100):
            with urllib.request.urlopen(f"http://{self._etcd.endpoint}/v3/kv/put", data=body, timeout=5):
                pass

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        unchecked = ssl._create_unverified_context()  # it makes its certificate when it starts
        url = f"https://127.0.0.1:{self._port}/readyz"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {_TOKEN}"})
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, context=unchecked, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                log = (self._folder / "apiserver.log").read_text()[-2000:]
                assert self._process.poll() is None, f"the kube-apiserver has ended:\n{log}"
                assert time.monotonic() < deadline, f"the kube-apiserver is not ready:\n{log}"
                time.sleep(0.1)


@contextmanager
def running(program: Path, folder: Path) -> Iterator[Path]:
    """A server for the length of the block; yields its kubeconfig."""
    server = KubeApiserver(program, folder)
    try:
        server.start()
        yield server.kubeconfig
    finally:
        server.stop()


@pytest.fixture(scope="session")
def real_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a real API server; without one, the test is skipped."""
    if cluster := os.environ.get(CLUSTER):
        yield Path(cluster)
    elif program := os.environ.get(PROGRAM):
        with running(Path(program), tmp_path_factory.mktemp("kubernetes")) as path:
            yield path
    else:
        pytest.skip(f"no real Kubernetes: neither {CLUSTER} nor {PROGRAM} is set")


def main(program: str) -> None:
    """Serves until Ctrl-C, or SIGTERM."""
    for each in (signal.SIGINT, signal.SIGTERM):  # in the background of a script the first one is ignored
        signal.signal(each, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder, running(Path(program), Path(folder)) as path:
        print(f"export KUBECONFIG={path}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main(sys.argv[1])
