"""The unmodified Flyte client: `pyflyte` as a process, `FlyteRemote` in this one, and Flyte's bare gRPC stubs.

`pyflyte` runs with a clean environment: nothing of the test's own (PYTHONPATH, FLYTE_*, OTEL_*) reaches it, its HOME is
empty and all it knows of the system is the config file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
from flyteidl.service import admin_pb2_grpc, dataproxy_pb2_grpc, signal_pb2_grpc
from flytekit.configuration import Config, DataConfig, PlatformConfig
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution

from protos import airscrew_pb2_grpc

PROJECT = "flytesnacks"
DOMAIN = "development"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

_MAX_MESSAGE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Client:
    """Everything a user has: an endpoint, a config file, `pyflyte` and the SDK."""

    endpoint: str
    """host:port of the admin service."""
    home: Path
    """An empty directory: working directory, HOME and TMPDIR of `pyflyte`, and where the config file is written."""
    project: str = PROJECT
    domain: str = DOMAIN
    config: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        config = self.home / "config.yaml"
        config.write_text(f"admin:\n  endpoint: dns:///{self.endpoint}\n  insecure: true\n")
        object.__setattr__(self, "config", config)

    def pyflyte(
        self, *args: str, timeout_seconds: float = 120.0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `pyflyte -c CONFIG …` to its end; output and errors come together in `stdout`."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "pyflyte"), "-c", str(self.config), *args],
            cwd=self.home,
            env={
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
                "HOME": str(self.home),
                "TMPDIR": str(self.home),
                "LANG": "C.UTF-8",
                "COLUMNS": "400",  # no line of interest is wrapped
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def remote(self) -> FlyteRemote:
        return FlyteRemote(
            Config(platform=PlatformConfig(endpoint=self.endpoint, insecure=True), data_config=DataConfig()),
            default_project=self.project,
            default_domain=self.domain,
        )

    @contextmanager
    def stubs(self) -> Iterator[Stubs]:
        """Flyte's services without the SDK's retries and conversions, for looking at exact answers."""
        sizes = [("grpc.max_send_message_length", _MAX_MESSAGE_BYTES), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(self.endpoint, options=sizes) as channel:
            yield Stubs(channel)


class Stubs:
    """The generated stubs of Flyte's services, and of ours, on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.admin = admin_pb2_grpc.AdminServiceStub(channel)
        self.data = dataproxy_pb2_grpc.DataProxyServiceStub(channel)
        self.signal = signal_pb2_grpc.SignalServiceStub(channel)
        self.airscrew = airscrew_pb2_grpc.AirscrewStub(channel)


def wait(
    remote: FlyteRemote, execution: FlyteWorkflowExecution, timeout_seconds: float = 90.0
) -> FlyteWorkflowExecution:
    """`FlyteRemote.wait` with a poll interval that suits tests; its nodes are synchronised once, at the end, because
    that is several calls for each of them."""
    timeout, interval = timedelta(seconds=timeout_seconds), timedelta(seconds=0.5)
    finished = remote.wait(execution, timeout=timeout, poll_interval=interval, sync_nodes=False)
    return remote.sync_execution(finished, sync_nodes=True)


def execution_name(output: str) -> str:
    """The execution that `pyflyte run --remote` says it has started: the SDK's tools find it in the console's address
    just so."""
    found = re.search(r"/executions/([a-zA-Z0-9]+)", output)
    assert found, f"no execution in the output of pyflyte:\n{output}"
    return found.group(1)
