"""Runs the tasks of `shapes` both ways in forks of one process and prints what differs, as JSON.

    python compare.py BOOTSTRAP FOLDER

By a task environment's own interpreter. First all by flytekit's command line, before anything of ours is loaded; then
all by `bootstrap/leanway.py`, in its own fork each, and once more one after the other in a single fork, as a kept
process runs them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import threading
from pathlib import Path

import shapes
from flyteidl.core import dynamic_job_pb2, errors_pb2, literals_pb2
from flytekit.bin import entrypoint
from flytekit.core.array_node_map_task import ArrayNodeMapTaskResolver
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine

LIMIT = 4096
DEFAULT = "flytekit.core.python_auto_container.default_task_resolver"

CASES = {
    "scalars": {"a": 1, "b": 0.5, "c": "abc", "d": True, "e": shapes.WHEN, "f": shapes.timedelta(1)},
    "times": {"e": shapes.WHEN},
    "collections": {"xs": [1, 2], "names": {"a": "b"}},
    "structures": {"p": shapes.Point(1, 2.5)},
    "unions": {"x": "text", "y": 3},
    "named": {},
    "nothing": {"x": 1},
    "file": {},
    "directory": {},
    "large": {"size": 10_000},
    "several": {"size": 2 << 20},
    "decked": {},
    "fails": {"message": "no good"},
    "recovers": {"again": True},
    "returns_wrong": {},
    "ignores": {"rank": 1},
    "leaves": {"code": 3},
    "waits": {"x": 4},
    "knows": {},
    "one": {},  # an input is missing
    "grows": {"n": 3},
    "mapped": {"x": [1, 2, 3]},
    "absent": {},
}


def inputs_of(name: str) -> bytes:
    task = getattr(shapes, name, None)
    values = CASES[name]
    if task is None or not values:
        return b""
    types = task.python_interface.inputs
    context = FlyteContextManager.current_context()
    return TypeEngine.dict_to_literal_map(context, dict(values), type_hints=types).to_flyte_idl().SerializeToString()


def words_of(name: str, folder: Path) -> list[str]:
    words = [
        "--inputs", str(folder / "inputs.pb"),
        "--output-prefix", str(folder / "out"),
        "--raw-output-data-prefix", str(folder / "raw"),
        "--checkpoint-path", str(folder / "checkpoints"),
        "--prev-checkpoint", '""',
        "--dynamic-addl-distro", "/somewhere/fast.tar.gz",
        "--dynamic-dest-dir", "/root",
    ]  # fmt: skip
    if name != "mapped":
        return ["pyflyte-execute", *words, "--resolver", DEFAULT, "--", "task-module", "shapes", "task-name", name]
    resolver = f"{ArrayNodeMapTaskResolver.__module__}.{ArrayNodeMapTaskResolver.__qualname__}"
    arguments = ArrayNodeMapTaskResolver().loader_args(
        entrypoint.SerializationSettings(entrypoint.ImageConfig.auto()), shapes.mapped
    )
    return ["pyflyte-map-execute", *words, "--resolver", resolver, "--", *arguments]


def settings() -> str:
    """What a task is told of its registration."""
    images = entrypoint.ImageConfig.auto(img_name="somewhere/image:v1")
    return entrypoint.SerializationSettings(images, project="p", domain="d", version="v7").serialized_context


def prepare(folder: Path, words: list[str]) -> None:
    for place in ("work", "tmp"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    os.chdir(folder / "work")
    os.environ.update(
        TMPDIR=str(folder / "tmp"),
        FLYTE_INTERNAL_EXECUTION_ID="ex1",
        FLYTE_INTERNAL_EXECUTION_PROJECT="p",
        FLYTE_INTERNAL_EXECUTION_DOMAIN="d",
        FLYTE_INTERNAL_EXECUTION_WORKFLOW="p:d:wf",
        FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN="p:d:lp",
        FLYTE_INTERNAL_TASK_PROJECT="p",
        FLYTE_INTERNAL_TASK_DOMAIN="d",
        FLYTE_INTERNAL_TASK_NAME="t",
        FLYTE_INTERNAL_TASK_VERSION="v7",
        FLYTE_ATTEMPT_NUMBER="2",
        BATCH_JOB_ARRAY_INDEX_VAR_NAME="FLYTE_K8S_ARRAY_INDEX",
        BATCH_JOB_ARRAY_INDEX_OFFSET="0",
        FLYTE_K8S_ARRAY_INDEX="1",
        _F_SS_C=settings(),
        _F_L_MIN_SIZE_MB="1",
        _F_L_MAX_SIZE_MB="1000",
    )
    sys.argv[:] = words


def forked(work) -> int:
    child = os.fork()
    if child == 0:
        code = 125
        try:
            work()
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1 if exit.code else 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def by_command(name: str, folder: Path) -> int:
    words = words_of(name, folder)

    def work() -> None:
        prepare(folder, words)
        command = entrypoint.map_execute_task_cmd if name == "mapped" else entrypoint.execute_task_cmd
        command.main(words[1:])

    return forked(work)


def lean(way, name: str, folder: Path) -> int:
    """In this process. What is handed back is written where it would have been, so that it can be compared."""
    words = words_of(name, folder)
    prepare(folder, words)
    result = way.run(words, (folder / "inputs.pb").read_bytes(), LIMIT, True, dict(os.environ))
    if result.outputs is not None:
        assert not (folder / "out" / "outputs.pb").exists(), "handed back and written"
        (folder / "out").mkdir(exist_ok=True)
        (folder / "out" / "outputs.pb").write_bytes(result.outputs)
        (folder / "handed back").touch()
        assert result.deck == (folder / "out" / "deck.html").exists()
    return result.code


def found(folder: Path) -> dict[str, object]:
    """What lies at the output prefix, without what names the folder, a moment or a line of code."""
    result: dict[str, object] = {}
    for path in sorted((folder / "out").rglob("*")) if (folder / "out").exists() else []:
        data = path.read_bytes()
        if path.name == "error.pb":
            error = errors_pb2.ErrorDocument.FromString(data).error
            last = error.message.strip().splitlines()[-1].strip()
            shown: object = [error.code, error.kind, error.origin, error.worker, last, error.timestamp.seconds > 0]
        elif path.name == "futures.pb":
            shown = str(dynamic_job_pb2.DynamicJobSpec.FromString(data))
        elif path.suffix == ".pb":
            kind = literals_pb2.Literal if "offloaded" in path.name else literals_pb2.LiteralMap
            shown = str(kind.FromString(data))
        else:
            shown = len(data) > 100
        text = json.dumps(shown).replace(str(folder), "FOLDER")
        result[path.name] = re.sub(r"[0-9a-f]{32}", "RANDOM", text)  # flytekit's names for raw data
    kept = (folder / "raw").rglob("*") if (folder / "raw").exists() else []
    result["raw data"] = sorted((path.name, path.stat().st_size) for path in kept if path.is_file())
    return result


def load(bootstrap: Path, name: str):
    spec = importlib.util.spec_from_file_location(f"_airscrew_{name}", bootstrap / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    bootstrap, root = Path(sys.argv[1]), Path(sys.argv[2])
    results: dict[str, dict[str, object]] = {name: {} for name in CASES}

    def folder_of(name: str, how: str) -> Path:
        folder = root / how / name
        folder.mkdir(parents=True)
        (folder / "inputs.pb").write_bytes(inputs[name])
        return folder

    inputs: dict[str, bytes] = {}

    def write_inputs() -> None:  # in a fork: flytekit starts a thread for it
        for name in CASES:
            (root / f"{name}.inputs").write_bytes(inputs_of(name))

    assert forked(write_inputs) == 0
    inputs.update({name: (root / f"{name}.inputs").read_bytes() for name in CASES})
    for name in CASES:
        folder = folder_of(name, "command")
        results[name]["command"] = [by_command(name, folder), found(folder)]

    way = load(bootstrap, "leanway").LeanWay(load(bootstrap, "exchange"), load(bootstrap, "shortcuts"))
    assert way.fits
    rehearsal = load(bootstrap, "rehearsal")
    rehearsed = []
    rehearsal.run, run = lambda *given: (rehearsed.append(given[-1]), run(*given)), rehearsal.run
    rehearsal.rehearse(way, load(bootstrap, "desks"), str(root / "rehearsal"))
    assert rehearsed == [rehearsal.TIMES], "as every zygote does"
    assert threading.active_count() == 1
    for name in CASES:
        folder = folder_of(name, "fork")

        def work(name=name, folder=folder) -> None:
            load(bootstrap, "desks").make(str(folder / "tmp"))
            way.settle(str(folder / "tmp"))
            sys.exit(lean(way, name, folder))

        results[name]["fork"] = [forked(work), found(folder)]
        results[name]["handed back"] = (folder / "handed back").exists()

    def many() -> None:
        (root / "desk" / "work").mkdir(parents=True)
        way.settle(str(root / "desk"))
        places = str(root / "desk"), str(root / "desk" / "work")
        start = load(bootstrap, "worker").Belongings(load(bootstrap, "desks"), places, way.desk)
        for name in CASES:
            folder = folder_of(name, "kept")
            code = lean(way, name, folder)
            start.put_back()
            (root / f"{name}.kept").write_text(json.dumps([code, found(folder)]))

    assert forked(many) == 0
    for name in CASES:
        results[name]["kept"] = json.loads((root / f"{name}.kept").read_text())
    (root / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
