"""The queue service as a process that can be killed and started again on its port."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.rpc import channel
from services.standalone import ports

SERVICE = "airscrew.queue.v1.Queue"


class QueueProcess:
    """`python -m services.queue`, on a port of its own unless it is said where."""

    def __init__(self, log: Path, address: str | None = None, *, profile: str | None = None) -> None:
        """`profile` is a file for cProfile's findings."""
        self._profiler = ["-m", "cProfile", "-o", profile] if profile else []
        self.address = address or f"{ports.LOOPBACK}:{ports.free(set())}"
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        environ = os.environ | {"AIRSCREW_LISTEN": self.address, "AIRSCREW_LOG_FORMAT": "text"}
        command = [sys.executable, *self._profiler, "-m", "services.queue"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stderr=log)
        async with asyncio.timeout(20), channel.connect(self.address) as connection:
            health: Any = health_pb2_grpc.HealthStub(connection)
            request = health_pb2.HealthCheckRequest(service=SERVICE)
            reply = await health.Check(request, wait_for_ready=True)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING

    async def end(self, number: signal.Signals) -> int:
        """Sends the signal; the exit code."""
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 10)

    def clean_up(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
