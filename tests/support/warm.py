"""An executor whose tasks are expressions and scripts of the test's, run by flytekit in warm processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flyteidl.core import literals_pb2, tasks_pb2, types_pb2

from protos import executor_pb2
from services.executor import processes
from tests.support.executing import executing, template
from tests.support.leader import Assignments, ExecutorSession, Leader, outputs_of

MODULE = """
import ctypes, json, os, signal, subprocess, sys, tempfile, threading, time
from pathlib import Path
from flytekit import current_context, task

@task
def does(what: str) -> str:
    return str(eval(what))

@task
def runs(script: str) -> str:
    names = {}
    exec(script, {**globals(), "names": names})
    return json.dumps(names)
"""

CONFIG = {"fork": {}, "reuse": {"airscrew/reuse": "true"}}


class Bench:
    """Tasks of MODULE, whose code is part of their environment."""

    def __init__(self, session: ExecutorSession, tmp_path: Path, kind: str) -> None:
        self.session = session
        self.kind = kind
        self.tmp_path = tmp_path
        self.work = Assignments(str(tmp_path / "blob"))

    def task(self, name: str, module: str = "mine", **more: Any) -> tasks_pb2.TaskTemplate:
        words = """pyflyte-execute --inputs {{.input}} --output-prefix {{.outputPrefix}}
            --raw-output-data-prefix {{.rawOutputDataPrefix}} --checkpoint-path {{.checkpointOutputPrefix}}
            --prev-checkpoint {{.prevCheckpointPrefix}}
            --resolver flytekit.core.python_auto_container.default_task_resolver --"""
        more.setdefault("env", [{"key": "PYTHONPATH", "value": str(self.tmp_path / "code")}])
        arguments = ("task-module", module, "task-name", name)
        task = template(*words.split(), *arguments, outputs={"o0": types_pb2.STRING}, **more)
        task.config.update(CONFIG[self.kind])
        return task

    def assigned(self, name: str, argument: str, **more: Any) -> Any:
        of_task: dict[str, Any] = {key: more.pop(key) for key in ("module", "resources_", "env") if key in more}
        if "resources_" in of_task:
            of_task["resources"] = of_task.pop("resources_")
        input_name = "what" if name == "does" else "script"
        return self.work.of(self.task(name, **of_task), {input_name: string(argument)}, **more)

    async def report(self, assigned: Any) -> executor_pb2.Report:
        self.session.assign(assigned)
        return await self.session.final(assigned[0].id)

    async def does(self, what: str, **more: Any) -> str:
        """The value of a Python expression, as a task says it."""
        return value(await self.report(self.assigned("does", what, **more)))

    async def runs(self, script: str, **more: Any) -> dict[str, Any]:
        """What a script puts into `names`."""
        found: dict[str, Any] = json.loads(value(await self.report(self.assigned("runs", script, **more))))
        return found


def string(text: str) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value=text)))


def value(report: executor_pb2.Report) -> str:
    return str(outputs_of(report)["o0"].scalar.primitive.string_value)


@asynccontextmanager
async def benched(kind: str, leader: Leader, settings: dict[str, Any], tmp_path: Path) -> AsyncIterator[Bench]:
    """Runs it; `kind` is of `CONFIG`. Leaves no process behind."""
    (tmp_path / "code").mkdir(exist_ok=True)
    (tmp_path / "code" / "mine.py").write_text(MODULE)
    async with executing(settings):
        yield Bench(await leader.session(), tmp_path, kind)
    left = await asyncio.to_thread(processes.inside, tmp_path)
    assert not left, "a stopped executor leaves no process"
