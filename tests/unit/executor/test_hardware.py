"""What a machine has, and which of it a process may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.executor import hardware


def cgroup(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_quota_of_either_version_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: set(range(8)))
    assert hardware.cpu_millis(tmp_path / "none") == 8000
    assert hardware.cpu_millis(cgroup(tmp_path / "v2", cpu_DOT_max="150000 100000")) == 1500
    assert hardware.cpu_millis(cgroup(tmp_path / "v2max", cpu_DOT_max="max 100000")) == 8000
    v1 = {"cpu__cpu_DOT_cfs_quota_us": "50000", "cpu__cpu_DOT_cfs_period_us": "100000"}
    assert hardware.cpu_millis(cgroup(tmp_path / "v1", **v1)) == 500
    unlimited = v1 | {"cpu__cpu_DOT_cfs_quota_us": "-1"}
    assert hardware.cpu_millis(cgroup(tmp_path / "v1max", **unlimited)) == 8000


def test_a_limit_of_either_version_bounds_the_memory(tmp_path: Path) -> None:
    total = hardware.memory_bytes(tmp_path / "none")
    assert total > 1 << 28
    assert hardware.memory_bytes(cgroup(tmp_path / "v2", memory_DOT_max="1048576\n")) == 1 << 20
    assert hardware.memory_bytes(cgroup(tmp_path / "v2max", memory_DOT_max="max\n")) == total
    v1 = cgroup(tmp_path / "v1", memory__memory_DOT_limit_in_bytes="9223372036854771712")
    assert hardware.memory_bytes(v1) == total


async def test_gpus_are_those_that_are_visible_else_those_that_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await hardware.gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-abc"}) == ("2", "GPU-abc")
    assert await hardware.gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert await hardware.gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == ()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await hardware.gpus({}) == (), "no driver"
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    smi.chmod(0o755)
    assert await hardware.gpus({}) == ("0", "1")
    smi.write_text("#!/bin/sh\necho 'driver mismatch'; exit 18\n")
    assert await hardware.gpus({}) == ()
