"""How a service's process waits for its sockets: gRPC's own trace tells."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CALL = """
import os
import grpc

server = grpc.server(None)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{port}")).result(30)
server.stop(None)
print(os.environ.get("GRPC_EXPERIMENTS"))
"""

TRACED = {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "event_engine_endpoint"}
NEWER = "posix_endpoint.cc"


def run(program: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment | more, capture_output=True, text=True, check=True, timeout=60
    )


def test_a_service_waits_in_the_older_way_and_its_children_know_nothing_of_it() -> None:
    ran = run(f"from libs.runtime import process\n{CALL}", **TRACED)

    assert "Unknown experiment" not in ran.stderr  # or this version of gRPC has it no more
    assert NEWER not in ran.stderr
    assert ran.stdout.strip() == "None"


@pytest.mark.parametrize("first", ["", "from libs.runtime import process"])
def test_the_newer_way_shows_in_the_trace_and_an_operator_may_have_it(first: str) -> None:
    ran = run(f"{first}\n{CALL}", **TRACED, GRPC_EXPERIMENTS="event_engine_client")

    assert NEWER in ran.stderr
    assert ran.stdout.strip() == "event_engine_client"
