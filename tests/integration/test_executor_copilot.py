"""The co-pilot as a program, on a directory and on a bucket: inputs become files, and after SIGTERM files outputs."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flyteidl.core import errors_pb2, execution_pb2, interface_pb2, literals_pb2, types_pb2

from libs import blob as blobs
from libs.blob import BlobStore
from libs.workflow.errors import NotFound
from tests.support.flytetypes import INTEGER, STRING, value, variables

USER, SYSTEM = execution_pb2.ExecutionError.USER, execution_pb2.ExecutionError.SYSTEM
FILE = types_pb2.LiteralType(blob={})
FOLDER = types_pb2.LiteralType(blob={"dimensionality": types_pb2.BlobType.MULTIPART})


@dataclass
class Stage:
    """Where a raw container would run."""

    store: BlobStore
    root: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        return self.store.join("metadata", "n0", "data", "0")

    def directory(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        program = (sys.executable, "-m", "services.executor.copilot", *words)
        process = await asyncio.create_subprocess_exec(*program, stderr=asyncio.subprocess.PIPE)
        self.processes.append(process)
        return process

    async def download(self, inputs: dict[str, literals_pb2.Literal] | bytes, *words: str) -> tuple[int | None, str]:
        """Exit code and log."""
        uri = self.store.join("metadata", "n0", "data", "inputs.pb")
        literals = inputs if isinstance(inputs, bytes) else _map(inputs)
        await self.store.write(uri, literals)
        directory = str(self.directory("inputs"))
        common = ("--output-prefix", self.prefix, "--directory", directory, "--timeout", "60")
        process = await self.start("download", "--inputs", uri, *common, *words)
        _, log = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode, log.decode()

    async def upload(
        self, outputs: dict[str, types_pb2.LiteralType], timeout: float = 60
    ) -> asyncio.subprocess.Process:
        """A sidecar that hears signals."""
        interface = interface_pb2.TypedInterface(outputs=variables(**outputs)).SerializeToString()
        ready = self.root / "ready"
        process = await self.start(
            "upload",
            *("--output-prefix", self.prefix, "--directory", str(self.directory("outputs"))),
            *("--timeout", str(timeout), "--raw-prefix", self.store.join("raw", "n0", "0")),
            *("--interface", base64.b64encode(interface).decode(), "--ready", str(ready)),
        )
        while not ready.exists():
            assert process.returncode is None
            await asyncio.sleep(0.02)
        return process

    async def uploaded(self, process: asyncio.subprocess.Process) -> int | None:
        """The end of the main containers, and how the sidecar ends."""
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 30)
        return process.returncode

    async def outputs(self) -> dict[str, literals_pb2.Literal]:
        content = await self.store.read(f"{self.prefix}/outputs.pb")
        return dict(literals_pb2.LiteralMap.FromString(content).literals)

    async def error(self) -> errors_pb2.ContainerError:
        content = await self.store.read(f"{self.prefix}/error.pb")
        return errors_pb2.ErrorDocument.FromString(content).error


def _map(literals: dict[str, literals_pb2.Literal]) -> bytes:
    return bytes(literals_pb2.LiteralMap(literals=literals).SerializeToString())


def blob(uri: str, type: types_pb2.LiteralType = FILE) -> literals_pb2.Literal:
    metadata = literals_pb2.BlobMetadata(type=type.blob)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=literals_pb2.Blob(uri=uri, metadata=metadata)))


@pytest.fixture
def stage(blob_store: BlobStore, tmp_path: Path) -> Iterator[Stage]:
    with _staged(blob_store, tmp_path) as stage:
        yield stage


@pytest.fixture
def directory_stage(tmp_path: Path) -> Iterator[Stage]:
    """One with a directory for a blob store, where the kind makes no difference."""
    with _staged(blobs.open(str(tmp_path / "blobs")), tmp_path) as stage:
        yield stage


@contextmanager
def _staged(store: BlobStore, root: Path) -> Iterator[Stage]:
    stage = Stage(store, root)
    yield stage
    for process in stage.processes:
        if process.returncode is None:
            process.kill()


async def test_a_raw_container_gets_its_inputs_and_its_files_become_outputs(stage: Stage) -> None:
    single, folder = stage.store.join("raw", "single"), stage.store.join("raw", "folder")
    await stage.store.write(single, b"content")
    for name in ("a", "deep/b"):
        await stage.store.write(f"{folder}/{name}", name.encode())
    code, log = await stage.download({"n": value(5), "one": blob(single), "many": blob(folder, FOLDER)})
    assert code == 0, log
    inputs = stage.root / "inputs"
    assert json.loads((inputs / "inputs.json").read_text()) == {
        "n": 5,
        "one": str(inputs / "one"),
        "many": str(inputs / "many"),
    }
    assert (inputs / "n").read_text() == "5"
    assert (inputs / "n").stat().st_mode & 0o777 == 0o666, "whoever the task runs as may change its files"
    assert (inputs / "many").stat().st_mode & 0o777 == 0o777

    wanted = {"m": INTEGER, "s": STRING, "one": FILE, "many": FOLDER}
    sidecar = await stage.upload(wanted)
    # The task's container, which knows nothing of Flyte.
    outputs = stage.root / "outputs"
    (outputs / "m").write_text(str(int((inputs / "n").read_text()) * 2))
    (outputs / "s.txt").write_text("done\n")
    (outputs / "one.bin").write_bytes(bytes(6 << 20))
    (inputs / "many").rename(outputs / "many")
    with pytest.raises(NotFound):
        await stage.outputs()
    assert await stage.uploaded(sidecar) == 0
    found = await stage.outputs()
    assert set(found) == set(wanted)
    assert (found["m"], found["s"]) == (value(10), value("done"))
    assert await stage.store.read(found["one"].scalar.blob.uri) == bytes(6 << 20)
    below = await stage.store.list(found["many"].scalar.blob.uri)
    assert below == [stage.store.join("raw", "n0", "0", "many", name) for name in ("a", "deep/b")]
    with pytest.raises(NotFound):
        await stage.error()


async def test_a_missing_input_keeps_the_task_from_starting_and_is_its_error(directory_stage: Stage) -> None:
    code, log = await directory_stage.download({"one": blob(directory_stage.store.join("raw", "missing"))})
    assert code == 1
    assert "missing" in log, "the pod's state quotes the end of it"
    error = await directory_stage.error()
    assert (error.code, error.origin) == ("InputDownloadFailed", USER)
    assert error.kind == errors_pb2.ContainerError.NON_RECOVERABLE
    assert "missing" in error.message


async def test_what_the_task_does_not_leave_is_its_error(directory_stage: Stage) -> None:
    assert await directory_stage.uploaded(await directory_stage.upload({"m": INTEGER})) == 0, "it has done its duty"
    error = await directory_stage.error()
    assert (error.code, error.origin, error.kind) == ("OutputUploadFailed", USER, errors_pb2.ContainerError.RECOVERABLE)
    assert "output 'm': there is no file" in error.message
    with pytest.raises(NotFound):
        await directory_stage.outputs()


async def test_the_task_says_itself_that_it_has_failed(directory_stage: Stage) -> None:
    sidecar = await directory_stage.upload({"m": INTEGER})
    (directory_stage.root / "outputs" / "m").write_text("1")
    (directory_stage.root / "outputs" / "_ERROR").write_text("no such customer")
    await directory_stage.uploaded(sidecar)
    error = await directory_stage.error()
    assert (error.code, error.message, error.origin) == ("TaskError", "no such customer", USER)


async def test_what_takes_too_long_is_given_up(directory_stage: Stage) -> None:
    with _silent_server() as address:
        code, _ = await directory_stage.download({"one": blob(f"{address}/slow")}, "--timeout", "0.5")
        error = await directory_stage.error()
    assert (code, error.origin, error.kind) == (1, SYSTEM, errors_pb2.ContainerError.RECOVERABLE)
    assert error.message == "the time allowed for it was over"


@contextmanager
def _silent_server() -> Iterator[str]:
    """One that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        yield f"http://{host}:{port}"
