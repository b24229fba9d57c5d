"""A raw container as a pod: the pod's own containers run here, as processes, in the order in which a node runs them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import execution_pb2, tasks_pb2

from protos import executor_pb2
from tests.support.executing import executing, template
from tests.support.flytetypes import INTEGER, value, variables
from tests.support.kubelet import Kubelet
from tests.support.leader import Assignments, ExecutorSession, Leader, error_of, outputs_of
from tests.support.pods import Place

Assigned = tuple[executor_pb2.Assign, Any]

UPLOAD, DOWNLOAD, TASK = "airscrew-upload", "airscrew-download", "primary"


@dataclass
class Node:
    """Runs the containers of one pod; what they have mounted lies at the same paths here."""

    kubelet: Kubelet
    root: Path
    running: list[asyncio.subprocess.Process] = field(default_factory=list)
    name: str = ""
    spec: dict[str, Any] = field(default_factory=dict)

    def task(self, script: str) -> tasks_pb2.TaskTemplate:
        """Doubles a number, or whatever `script` does with `$1`, its inputs, and `$2`, its outputs."""
        inputs, outputs = self.root / "inputs", self.root / "outputs"
        outputs.mkdir()
        words = ("/bin/sh", "-ec", script, "sh", str(inputs), str(outputs))
        config = {"enabled": True, "input_path": str(inputs), "output_path": str(outputs)}
        task: tasks_pb2.TaskTemplate = template(*words, data_config=config)
        task.type = "raw-container"
        task.interface.inputs.CopyFrom(variables(n=INTEGER))
        task.interface.outputs.CopyFrom(variables(m=INTEGER))
        return task

    async def take(self, assigned: Assigned) -> None:
        """The pod of an attempt."""
        pod = await self.kubelet.pod_of(assigned[0].id.node)
        self.spec = pod["spec"]
        self.name = await self.kubelet.bind(pod)

    async def start(self, container: str) -> asyncio.subprocess.Process:
        """Runs a container as its specification says; a sidecar is up when its probe succeeds."""
        of_pod = (*self.spec["initContainers"], *self.spec["containers"])
        (wanted,) = [each for each in of_pod if each["name"] == container]
        words = [*wanted.get("command", ()), *wanted.get("args", ())]
        ready = self.root / "ready"
        probe = wanted.get("startupProbe", {}).get("exec", {}).get("command", [""])[-1]
        words = [str(ready) if word == probe else word for word in words]
        program = sys.executable if words[0] == "python" else words[0]
        process = await asyncio.create_subprocess_exec(program, *words[1:])
        self.running.append(process)
        while probe and not ready.exists():
            await asyncio.sleep(0.02)
        return process

    async def until_task_ends(self) -> tuple[int, asyncio.subprocess.Process]:
        """From the pod's start to the end of its task: exit code, and the sidecar that goes on."""
        sidecar = await self.start(UPLOAD)
        assert await (await self.start(DOWNLOAD)).wait() == 0
        task = await self.start(TASK)
        await self.kubelet.runs(self.name, TASK)
        return await task.wait(), sidecar

    async def end(self, sidecar: asyncio.subprocess.Process) -> None:
        """All main containers have ended."""
        sidecar.send_signal(signal.SIGTERM)
        assert await sidecar.wait() == 0


@pytest.fixture
async def node(kubernetes: Place, tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(kubernetes.kubelet, tmp_path)
    yield node
    for process in node.running:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def session(
    leader: Leader, executor_settings: dict[str, Any], kubernetes: Place
) -> AsyncIterator[ExecutorSession]:
    async with executing(executor_settings | kubernetes.settings | {"copilot_image": "executor:1"}):
        yield await leader.session()


async def test_its_files_are_outputs_when_the_sidecar_has_brought_them(
    session: ExecutorSession, work: Assignments, node: Node
) -> None:
    assigned = work.of(node.task('echo $(($(cat $1/n) * 2)) > "$2/m"'), {"n": value(21)})
    session.assign(assigned)
    await node.take(assigned)
    code, sidecar = await node.until_task_ends()
    assert code == 0
    await node.kubelet.ends(node.name, beside=(UPLOAD,))
    await session.running(assigned[0].id)
    await node.end(sidecar)
    assert session.phases(assigned[0].id)[-1] == "RUNNING", "the pod has not ended"
    await node.kubelet.ends(node.name)
    assert outputs_of(await session.final(assigned[0].id)) == {"m": value(42)}


async def test_a_task_that_fails_is_not_said_to_lack_outputs(
    session: ExecutorSession, work: Assignments, node: Node
) -> None:
    assigned = work.of(node.task("exit 3"), {"n": value(21)})
    session.assign(assigned)
    await node.take(assigned)
    code, sidecar = await node.until_task_ends()
    await node.end(sidecar)
    assert Path(assigned[0].output_prefix, "error.pb").exists()
    await node.kubelet.ends(node.name, code)
    error = error_of(await session.final(assigned[0].id))
    assert (error.code, error.kind) == ("TaskProcessFailed", execution_pb2.ExecutionError.USER)
    assert "exited with code 3" in error.message


async def test_a_task_that_leaves_nothing_is_said_to_lack_outputs(
    session: ExecutorSession, work: Assignments, node: Node
) -> None:
    assigned = work.of(node.task("true"), {"n": value(21)})
    session.assign(assigned)
    await node.take(assigned)
    _, sidecar = await node.until_task_ends()
    await node.end(sidecar)
    await node.kubelet.ends(node.name)
    report = await session.final(assigned[0].id)
    assert (error_of(report).code, report.recoverable) == ("OutputUploadFailed", True)
    assert "output 'm': there is no file" in error_of(report).message


async def test_inputs_that_cannot_be_brought_are_the_error_of_a_task_that_never_ran(
    session: ExecutorSession, work: Assignments, node: Node
) -> None:
    nowhere = value({"..": 1})
    assigned = work.of(node.task("true"), {"n": nowhere})
    session.assign(assigned)
    await node.take(assigned)
    assert await (await node.start(DOWNLOAD)).wait() == 1
    ended = {"name": DOWNLOAD, "image": "", "imageID": "", "ready": False, "restartCount": 0}
    ended["state"] = {"terminated": {"exitCode": 1, "reason": "Error", "message": "copilot: no"}}
    await node.kubelet.say(node.name, phase="Failed", initContainerStatuses=[ended])
    report = await session.final(assigned[0].id)
    assert (error_of(report).code, report.recoverable) == ("InputDownloadFailed", False)
    assert "'..' cannot be the name of a file" in error_of(report).message
