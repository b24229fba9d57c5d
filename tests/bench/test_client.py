"""How long the client waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from protos import airscrew_pb2, airscrew_pb2_grpc
from tests.bench import client
from tests.bench.client import Client
from tests.support.flyte import Stubs


class Silent(airscrew_pb2_grpc.AirscrewServicer):
    """Tells of nothing, as long as it is asked."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []
        """Those of the streams, in seconds; hundreds of years where there is none."""

    def WatchExecutions(
        self, request: airscrew_pb2.WatchExecutionsRequest, context: grpc.ServicerContext
    ) -> Iterator[airscrew_pb2.WatchExecutionsReply]:
        over = threading.Event()
        context.add_callback(over.set)
        self.deadlines.append(context.time_remaining())
        context.send_initial_metadata(())
        over.wait(30)
        yield from ()


@contextmanager
def serving(servicer: airscrew_pb2_grpc.AirscrewServicer) -> Iterator[Stubs]:
    server = grpc.server(ThreadPoolExecutor(2))
    airscrew_pb2_grpc.add_AirscrewServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Stubs(channel)
    finally:
        server.stop(None).wait()


def test_a_series_of_runs_may_take_as_long_as_it_likes_and_what_does_not_end_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = Silent()  # type: ignore[abstract]  # what it does not serve nobody asks for
    with serving(silent) as stubs:
        it = Client(stubs, "x")
        with it.watching():
            (deadline,) = silent.deadlines
            assert deadline > 1e9, "the stream has a deadline of its own"
            monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.05)
            with pytest.raises(TimeoutError, match="x3 and 1 others have not ended"), it.patience():
                it.outputs(["x3", "x4"])
