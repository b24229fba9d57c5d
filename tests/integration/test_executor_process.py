"""The executor as a process of its own: what SIGKILL and SIGTERM leave behind, and what the next start makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from flyteidl.core import literals_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos import executor_pb2
from services.executor import processes
from tests.support.executing import shell, template
from tests.support.kubernetes import FakeKubernetes
from tests.support.leader import TOKEN, Assignments, ExecutorSession, Leader, error_of
from tests.support.markers import alive
from tests.support.waiting import until


class Executor:
    """`python -m services.executor` with a data directory that outlives it."""

    def __init__(self, leader: Leader, tmp_path: Path, task_environment: Path, **environ: str) -> None:
        self.log = tmp_path / "executor.log"
        token = tmp_path / "token"
        token.write_text(TOKEN)
        self.command: tuple[str, ...] = (sys.executable, "-m", "services.executor")
        self._environ = {
            "PATH": os.environ["PATH"],
            "AIRSCREW_PROPELLERS": leader.address,
            "AIRSCREW_SESSION_TOKEN_FILE": str(token),
            "AIRSCREW_BLOB": str(tmp_path / "blob"),
            "AIRSCREW_EXECUTOR_DATA_DIR": str(tmp_path / "data"),
            "AIRSCREW_EXECUTOR_TASK_ENVIRONMENTS": f"*={task_environment}",
            "AIRSCREW_EXECUTOR_CPU_MILLIS": "4000",
            "AIRSCREW_EXECUTOR_SHUTDOWN_GRACE_SECONDS": "0.2",
            "AIRSCREW_EXECUTOR_KILL_GRACE_SECONDS": "0.5",
            "AIRSCREW_EXECUTOR_DISK_FLOOR_BYTES": "0",
            "AIRSCREW_LOG_FORMAT": "text",
        } | environ

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(*self.command, env=self._environ, stdout=log, stderr=log)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.fixture
def executor(leader: Leader, tmp_path: Path, task_environment: Path) -> Executor:
    return Executor(leader, tmp_path, task_environment)


async def pids_in(path: Path, count: int) -> list[int]:
    async with asyncio.timeout(20):
        while not path.exists() or len(path.read_text().split()) < count:
            await asyncio.sleep(0.01)
    return [int(pid) for pid in path.read_text().split()]


def family(path: Path) -> Any:
    """A task with a child, and a grandchild in a session of its own that ignores SIGTERM."""
    return shell(
        f"""
        (setsid sh -c 'trap "" TERM; echo $$ >> {path}; while true; do sleep 1; done' &)
        sleep 600 & echo $! >> {path}
        echo $$ >> {path}; wait
        """
    )


async def test_when_the_executor_is_killed_its_tasks_are_gone_though_nobody_starts_it_again(
    executor: Executor, leader: Leader, work: Assignments, tmp_path: Path
) -> None:
    assigned = work.of(family(tmp_path / "pids"))
    async with executor.running() as process:
        session = await leader.session()
        session.assign(assigned)
        pids = await pids_in(tmp_path / "pids", 3)
        assert all(map(alive, pids))
        process.kill()
        await until(lambda: not any(map(alive, pids)), "all of them are gone")


async def test_when_the_executor_is_killed_its_warm_processes_are_gone_with_their_tasks(
    executor: Executor, leader: Leader, work: Assignments, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, pathlib, time\nfrom flytekit import task\n\n@task\ndef sleeps(place: str) -> int:\n"
        "    if not os.fork():\n        os.setsid()\n"
        "    pathlib.Path(place, str(os.getpid())).touch()\n    time.sleep(600)\n    return 1\n"
    )
    pids = tmp_path / "pids"
    pids.mkdir()
    words = """pyflyte-execute --inputs {{.input}} --output-prefix {{.outputPrefix}}
        --raw-output-data-prefix {{.rawOutputDataPrefix}}
        --resolver flytekit.core.python_auto_container.default_task_resolver -- task-module mine task-name sleeps"""
    place = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value=str(pids))))
    task = template(*words.split(), env=[{"key": "PYTHONPATH", "value": str(tmp_path)}])
    reused = template(*words.split(), env=[{"key": "PYTHONPATH", "value": str(tmp_path)}])
    reused.config["airscrew/reuse"] = "true"
    async with executor.running() as process:
        session = await leader.session()
        session.assign(work.of(task, {"place": place}), work.of(reused, {"place": place}))
        await until(lambda: len(list(pids.iterdir())) == 4)
        below = processes.inside(tmp_path / "data")
        assert len(below) >= 6, "a zygote, two wardens, two tasks with a fork each"
        process.kill()
        # One that is ending has lost the environment by which it is found before it has ended.
        await until(lambda: not processes.inside(tmp_path / "data") and not any(map(alive, below)))


async def test_a_restarted_executor_tells_what_was_finished_and_what_had_begun(
    executor: Executor, leader: Leader, work: Assignments, tmp_path: Path
) -> None:
    leader.acknowledges = False
    finished, lost = work.of(shell("true")), work.of(family(tmp_path / "pids"))
    waits = work.of(shell("true"), resources=executor_pb2.Resources(cpu_millis=4000))
    async with executor.running() as process:
        session = await leader.session()
        session.assign(finished, lost, waits)
        report = await session.final(finished[0].id)
        await pids_in(tmp_path / "pids", 3)
        process.kill()
        await process.wait()
    async with executor.running():
        session = await leader.session()
        assert list(session.hello.snapshot) == [report]
        before, after = leader.hellos
        assert (before.former, list(before.begun)) == ("", [])
        assert (after.former, list(after.begun)) == (before.incarnation, [lost[0].id])
        assert not list((tmp_path / "data" / "scratch").iterdir())
        # The number is used: whoever assigns it again gets a failure and no second start.
        session.assign(lost)
        again = await session.final(lost[0].id)
        assert (error_of(again).code, again.recoverable) == ("AttemptNumberUsed", True)
        assert len((tmp_path / "pids").read_text().split()) == 3


async def test_a_restarted_executor_reaps_what_outlived_executor_and_supervisor(
    executor: Executor, leader: Leader, work: Assignments, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    # The task kills its own supervisor, after the executor is gone: nobody is left who could clean up.
    script = f"echo $PPID > {pids}.parent; (setsid sh -c 'echo $$ >> {pids}; sleep 600' &) ; sleep 600"
    async with executor.running() as process:
        session = await leader.session()
        session.assign(work.of(shell(script)))
        [orphan] = await pids_in(pids, 1)
        [supervisor] = await pids_in(Path(f"{pids}.parent"), 1)
        process.send_signal(signal.SIGSTOP)
        os.kill(supervisor, signal.SIGKILL)
        process.kill()
        await process.wait()
    assert alive(orphan)
    async with executor.running():
        await leader.session()
        assert not alive(orphan)


async def test_a_killed_supervisor_costs_the_attempt_and_leaves_nothing(
    executor: Executor, leader: Leader, work: Assignments, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    orphan_first = f"(setsid sh -c 'echo $$ >> {pids}; sleep 600' &); while [ ! -s {pids} ]; do sleep 0.01; done"
    script = f"{orphan_first}; kill -9 $PPID; sleep 60"
    async with executor.running():
        session = await leader.session()
        assigned = work.of(shell(script))
        session.assign(assigned)
        report = await session.final(assigned[0].id)
        assert (error_of(report).code, report.recoverable) == ("Interrupted", True)
        [orphan] = await pids_in(pids, 1)
        assert not alive(orphan)


async def test_sigterm_stops_in_order_with_exit_code_0(
    executor: Executor, leader: Leader, work: Assignments, tmp_path: Path
) -> None:
    assigned = work.of(family(tmp_path / "pids"))
    async with executor.running() as process:
        session = await leader.session()
        session.assign(assigned)
        pids = await pids_in(tmp_path / "pids", 3)
        process.terminate()
        report = await session.final(assigned[0].id)
        assert report.phase == executor_pb2.Report.PHASE_HANDED_BACK
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert session.draining
        assert not any(map(alive, pids))
        await asyncio.wait_for(session.closed.wait(), 5)


async def test_it_outlives_its_leader_and_its_attempts_do_not_notice(
    executor: Executor, leader: Leader, work: Assignments, tmp_path: Path
) -> None:
    nobody_leads = tmp_path / "nobody-leads"
    assigned = work.of(shell(f"while [ ! -e {nobody_leads} ]; do sleep 0.01; done"))
    async with executor.running():
        session = await leader.session()
        session.assign(assigned)
        await session.running(assigned[0].id)
        address = leader.address
        await leader.stop()
        nobody_leads.touch()
        await until(lambda: (tmp_path / "data" / "spool").stat().st_size, "its report is kept")
        successor = await Leader(epoch=2).start(address)
        try:
            session = await successor.session()
            assert [report.phase for report in session.hello.snapshot] == [executor_pb2.Report.PHASE_SUCCEEDED]
        finally:
            await successor.stop()


async def test_pods_of_an_executor_that_is_killed_go_on_and_the_next_life_goes_on_with_them(
    leader: Leader, tmp_path: Path, work: Assignments, fake_kubernetes: FakeKubernetes
) -> None:
    executor = Executor(
        leader,
        tmp_path,
        tmp_path,
        AIRSCREW_TASK_BACKEND="pod",
        AIRSCREW_EXECUTOR_POD_KUBECONFIG=str(fake_kubernetes.kubeconfig(tmp_path)),
    )
    running, ended = work.of(template("x")), work.of(template("x"))
    async with executor.running():
        session = await leader.session()
        session.assign(running, ended)
        await until(lambda: len(fake_kubernetes.pods()) == 2, "pods")
        names = {pod["metadata"]["labels"]["node-id"]: pod["metadata"]["name"] for pod in fake_kubernetes.pods()}
        for name in names.values():
            state = {"name": "primary", "state": {"running": {}}}
            fake_kubernetes.become(name, {"phase": "Running", "containerStatuses": [state]})
        before = [await session.running(each[0].id) for each in (running, ended)]
    leader.hellos.clear()
    over = {"phase": "Succeeded", "containerStatuses": [{"name": "primary", "state": {"terminated": {"exitCode": 0}}}]}
    fake_kubernetes.become(names[ended[0].id.node], over)
    async with executor.running():
        session = await leader.session()
        known = {report.id.node: report for report in session.hello.snapshot}
        assert all(known[report.id.node].seq > report.seq for report in before)
        assert (await session.final(ended[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        fake_kubernetes.become(names[running[0].id.node], over)
        assert (await session.final(running[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED


async def test_health_and_mistakes_in_the_settings(
    leader: Leader, tmp_path: Path, task_environment: Path, unused_tcp_port: int
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    good = Executor(leader, tmp_path, task_environment, AIRSCREW_LISTEN=address)
    async with good.running():
        await leader.session()
        async with grpc.aio.insecure_channel(address) as channel:
            request = health_pb2.HealthCheckRequest()
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5, wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

    bad = Executor(
        leader, tmp_path, task_environment, AIRSCREW_EXECUTOR_CPU_MILLIS="many", AIRSCREW_EXECUTOR_DIAL_SECONDS="soon"
    )
    async with bad.running() as process:
        assert await asyncio.wait_for(process.wait(), 20) == 2
    said = bad.log.read_text()
    assert "CPU_MILLIS" in said and "DIAL_SECONDS" in said, "both mistakes in one message"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
async def test_task_processes_of_another_user_cannot_read_what_the_executor_knows(
    leader: Leader, tmp_path: Path, task_environment: Path
) -> None:
    executor = Executor(
        leader,
        tmp_path,
        task_environment,
        AIRSCREW_EXECUTOR_TASK_UID="65534",
        AIRSCREW_EXECUTOR_TASK_GID="65534",
    )
    for directory in [tmp_path, *tmp_path.parents]:
        if directory.stat().st_uid == 0 and directory.name.startswith("pytest"):
            directory.chmod(0o755)
    async with executor.running() as process:
        session = await leader.session()
        script = (
            f"id -u; cat /proc/{process.pid}/environ; ls {tmp_path}/data/spool {tmp_path}/data; touch ok && echo mine"
        )
        assigned = Assignments(str(tmp_path / "blob")).of(template("/bin/sh", "-c", script))
        session.assign(assigned)
        await ended(session, assigned[0])
        log = Path(assigned[0].log_uri).read_text()
        assert log.startswith("65534\n") and log.endswith("mine\n")
        assert "AIRSCREW" not in log and log.count("Permission denied") >= 2


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root, in order to drop its powers")
async def test_task_processes_of_the_same_user_cannot_read_its_environment_and_memory(
    executor: Executor, leader: Leader, work: Assignments
) -> None:
    # Root's capabilities would read anything; a root without them is like any user.
    executor.command = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", *executor.command)
    async with executor.running() as process:
        session = await leader.session()
        assigned = work.of(shell(f"cat /proc/{process.pid}/environ; head -c1 /proc/{process.pid}/mem; true"))
        session.assign(assigned)
        await ended(session, assigned[0])
        log = Path(assigned[0].log_uri).read_text()
        assert log.count("Permission denied") == 2 and "AIRSCREW" not in log


async def ended(session: ExecutorSession, assign: executor_pb2.Assign) -> None:
    assert (await session.final(assign.id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
