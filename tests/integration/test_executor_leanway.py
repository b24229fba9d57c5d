"""The lean way into flytekit gives what its command line gives, for tasks of every shape."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import services.executor

HANDED_BACK = {
    *("scalars", "times", "collections", "structures", "unions", "named", "nothing", "file", "directory"),
    *("decked", "waits", "knows", "mapped"),
}


async def test_every_shape_of_task_ends_as_by_flytekits_command_line(task_environment: Path, tmp_path: Path) -> None:
    shapes = Path(__file__).with_name("taskshapes")
    bootstrap = Path(services.executor.__path__[0]) / "bootstrap"
    process = await asyncio.create_subprocess_exec(
        *(str(task_environment / "bin" / "python"), str(shapes / "compare.py"), str(bootstrap), str(tmp_path)),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": str(shapes),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    results = json.loads((tmp_path / "results.json").read_text())
    for name, result in results.items():
        assert result["fork"] == result["command"], name
        assert result["kept"] == result["command"], name
    assert {name for name, result in results.items() if result["handed back"]} == HANDED_BACK
    ended_well = {name for name, result in results.items() if "outputs.pb" in result["command"][1]}
    assert ended_well == HANDED_BACK | {"large", "several"}
    assert results["leaves"]["command"][0] == 3 and "error.pb" in results["fails"]["command"][1]
    assert "futures.pb" in results["grows"]["command"][1]
