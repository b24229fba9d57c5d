"""`airscrew start`: the real processes, from the first start to the second."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from flyteidl.admin import project_pb2, version_pb2
from flyteidl.service import admin_pb2_grpc

from tests.support.markers import alive
from tests.support.system import System

pytestmark = pytest.mark.timeout(180)

PROCESSES = ["admin", "etcd", "executor", "propeller", "queue"]


def start(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "services.standalone", "--data-dir", str(folder / "data"), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def pids(system: System) -> list[int]:
    return [process["pid"] for process in system.state()["processes"].values()]


def admin(endpoint: str) -> admin_pb2_grpc.AdminServiceStub:
    return admin_pb2_grpc.AdminServiceStub(grpc.insecure_channel(endpoint))


def epoch_above(system: System, lowest: int, seconds: float = 15.0) -> int:
    """The epoch of the leader, once it is above `lowest`."""
    deadline = time.monotonic() + seconds
    while (epoch := recorded_epoch(system)) <= lowest:
        assert time.monotonic() < deadline, f"nobody has claimed: {system.logs('propeller')[-3000:]}"
        time.sleep(0.05)
    return epoch


def recorded_epoch(system: System) -> int:
    with closing(sqlite3.connect(f"file:{system.database_file}?mode=ro", uri=True)) as database:
        (epoch,) = database.execute("SELECT coalesce(max(epoch), 0) FROM leadership").fetchone()
    return int(epoch)


def test_everything_starts_is_found_and_stops_in_order(tmp_path: Path) -> None:
    with System.start(tmp_path) as system:
        assert sorted(system.state()["processes"]) == PROCESSES
        assert all(process["state"] == "ready" for process in system.state()["processes"].values())
        assert system.config_file.read_text().endswith(
            f"admin:\n  endpoint: dns:///{system.endpoint}\n  insecure: true\n"
        )
        assert admin(system.endpoint).GetVersion(version_pb2.GetVersionRequest()).control_plane_version.Version

        announced = system.logs("standalone")
        assert f"-c {system.config_file} run --remote" in announced
        assert system.endpoint in announced

        running = pids(system)
        assert system.stop() == 0
        assert not any(map(alive, running))
        assert "is killed" not in system.logs("standalone")


def test_a_second_start_finds_what_the_first_has_left(tmp_path: Path) -> None:
    registration = project_pb2.ProjectRegisterRequest(project=project_pb2.Project(id="kept", name="kept"))
    with System.start(tmp_path) as system:
        admin(system.endpoint).RegisterProject(registration)
        system.stop()
    with System.start(tmp_path) as system:
        projects = admin(system.endpoint).ListProjects(project_pb2.ProjectListRequest()).projects
        assert "kept" in {project.id for project in projects}
        system.stop()
    with System.start(tmp_path, options=("--reset",)) as system:
        projects = admin(system.endpoint).ListProjects(project_pb2.ProjectListRequest()).projects
        assert "kept" not in {project.id for project in projects}


def test_a_process_that_is_killed_comes_back_and_the_others_stay(tmp_path: Path) -> None:
    with System.start(tmp_path) as system:
        before = {name: system.pid(name) for name in PROCESSES}
        system.restart("admin")
        after = {name: system.pid(name) for name in PROCESSES}

        assert {name for name in PROCESSES if before[name] != after[name]} == {"admin"}
        assert admin(system.endpoint).GetVersion(version_pb2.GetVersionRequest(), wait_for_ready=True, timeout=10)
        assert "admin was killed by SIGKILL; starting it again" in system.logs("standalone")


def test_all_processes_die_with_a_supervisor_that_is_killed_and_the_data_can_be_used_again(tmp_path: Path) -> None:
    with System.start(tmp_path) as system:
        running = pids(system)
        system.kill_supervisor()
        deadline = time.monotonic() + 2.0
        while any(map(alive, running)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(alive, running))
    with System.start(tmp_path) as system:
        assert sorted(system.state()["processes"]) == PROCESSES


def test_a_directory_serves_one_system_and_a_port_one_listener(tmp_path: Path) -> None:
    with System.start(tmp_path) as system:
        second = start(tmp_path, "--port", "0")
        assert second.returncode == 1
        assert f"another airscrew (process {system.state()['pid']}) uses {system.data_dir}" in second.stderr

        port = system.endpoint.rpartition(":")[2]
        third = start(tmp_path / "elsewhere", "--port", port)
        assert third.returncode == 1
        assert f"port {port} is in use" in third.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--propellers", "2"), "needs PostgreSQL"),
        (("--task-python", "/nowhere/bin/python"), "flytekit is not installed there"),
        (("--database", "mysql://x"), "mysql"),
        (("--database", "postgresql://nobody@127.0.0.1:1/none"), "stores:"),
    ],
)
def test_what_cannot_work_is_refused_in_words(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    refused = start(tmp_path, "--port", "0", *options)

    assert refused.returncode == 1
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_etcd_that_lost_its_data_is_replaced_without_an_operator_when_all_is_ours(tmp_path: Path) -> None:
    with System.start(tmp_path) as system:
        first = epoch_above(system, 0)
        system.stop()
    subprocess.run(["rm", "-r", str(tmp_path / "data" / "etcd")], check=True)
    with System.start(tmp_path) as system:
        epoch_above(system, first)
