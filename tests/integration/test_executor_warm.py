"""Task processes that are forked from warm ones, and those that are kept for many tasks: what holds for both."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import execution_pb2, tasks_pb2
from flyteidl.core.security_pb2 import Secret

from protos import executor_pb2
from services.executor import keeping, processes
from tests.support import warm
from tests.support.leader import Leader, error_of
from tests.support.markers import alive
from tests.support.waiting import until

USER = execution_pb2.ExecutionError.USER
SYSTEM = execution_pb2.ExecutionError.SYSTEM

SURROUNDINGS = """
mask = os.umask(0o77); os.umask(mask)
names.update(
    environment=dict(os.environ), cwd=os.getcwd(), path=sys.path, argv=sys.argv, pid=os.getpid(), mask=mask,
    here=sorted(os.listdir(".")), temporary=sorted(os.listdir(tempfile.gettempdir())),
    desk=sorted(os.listdir(current_context().working_directory)), home=os.listdir(os.environ["HOME"]),
    alarm=signal.getitimer(signal.ITIMER_REAL)[0], term=str(signal.getsignal(signal.SIGTERM)), stdin=sys.stdin.read(),
)
"""

CHANGES = """
os.environ["LEFT"] = "behind"
del os.environ["LANG"]
Path("left").mkdir(); Path("left", "file").write_text("left")
os.chdir("/"); os.umask(0); sys.path.insert(0, "/left"); sys.argv.append("left")
signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.setitimer(signal.ITIMER_REAL, 1000)
Path(current_context().working_directory, "left").write_text("left")
Path(os.environ["HOME"], "left").write_text("left")
Path(os.environ["TMPDIR"], "left").mkdir(); Path(os.environ["TMPDIR"], "left", "file").write_text("left")
sys.stdout = open(os.devnull, "w"); os.close(0)
names["pid"] = os.getpid()
"""

both = pytest.mark.parametrize("kind", warm.CONFIG)


@pytest.fixture
def opened(leader: Leader, executor_settings: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    return lambda kind, **settings: warm.benched(kind, leader, executor_settings | settings, tmp_path)


@both
async def test_however_a_task_ends_it_is_told_as_of_a_process_of_its_own_and_hurts_no_other(
    opened: Any, kind: str
) -> None:
    async with opened(kind) as bench:
        slow = bench.assigned("does", "time.sleep(2) or 'unhurt'")
        bench.session.assign(slow)
        for what, blamed, code, words in [
            ("os._exit(3)", USER, "TaskProcessFailed", "exited with code 3"),
            ("sys.exit(4)", USER, "TaskProcessFailed", "exited with code 4"),
            ("sys.exit('in words')", USER, "TaskProcessFailed", "in words"),
            ("sys.exit(0)", SYSTEM, "OutputsNotFound", "without writing outputs"),
            ("os._exit(0)", SYSTEM, "OutputsNotFound", "without writing outputs"),
            ("ctypes.string_at(0)", USER, "TaskProcessFailed", "ended by SIGSEGV"),
            ("os.kill(os.getpid(), 9)", SYSTEM, "Interrupted", "SIGKILL"),
            ("os.kill(os.getppid(), 9) or time.sleep(60)", SYSTEM, "Interrupted", "SIGKILL"),
        ]:
            report = await bench.report(bench.assigned("does", what))
            error = error_of(report)
            assert (error.kind, error.code, report.recoverable) == (blamed, code, True), what
            assert words in error.message, what
        report = await bench.report(bench.assigned("does", "1 / 0"))
        assert (error_of(report).code, report.recoverable) == ("USER:RuntimeError", False)
        # It closes what it does not know, among that the way its outputs were to go: then they are written.
        assert await bench.does("os.closerange(3, 4096) or 'closed'") == "closed"
        assert await bench.does("40 + 2") == "42"
        await bench.report(bench.assigned("does", "Path(os.environ['TMPDIR'], 'left').touch() or os._exit(1)"))
        assert await bench.does("[name for name in os.listdir(os.environ['TMPDIR']) if name == 'left']") == "[]"
        assert warm.value(await bench.session.final(slow[0].id)) == "unhurt"


@both
async def test_each_task_finds_what_a_process_of_its_own_would_find_whatever_the_last_one_changed(
    opened: Any, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_OWN", "secret")
    async with opened(kind) as bench:
        trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
        first = await bench.runs(SURROUNDINGS, attempt=2, traceparent=trace, envs={"MINE": "x"})
        changed = await bench.runs(CHANGES, envs={"MINE": "x"})
        again = await bench.runs(SURROUNDINGS, envs={"MINE": "x"})
        environment = first["environment"]
        assert environment["MINE"] == "x" and environment["FLYTE_ATTEMPT_NUMBER"] == "2"
        assert environment["FLYTE_INTERNAL_EXECUTION_ID"] == "ex1" and "OUR_OWN" not in environment
        assert environment["TRACEPARENT"].split("-")[1] == "ab" * 16 and again["environment"]["TRACEPARENT"] == ""
        assert Path(first["cwd"]).is_relative_to(tmp_path / "data") and first["stdin"] == ""
        assert first["argv"][0].endswith("/bin/pyflyte-execute") and first["argv"][-1] == "runs"
        assert not [place for place in first["path"] if (Path(place) / "services" / "executor").is_dir()]
        assert "left" not in again["temporary"] + again["here"] + again["desk"] + again["home"] and again["alarm"] == 0
        for personal in ("FLYTE_ATTEMPT_NUMBER", "TRACEPARENT", "HOME", "TMPDIR"):
            del environment[personal], again["environment"][personal]
        for same in (
            ("environment", "mask", "term") if kind == "fork" else ("environment", "mask", "term", "cwd", "path")
        ):
            assert again[same] == first[same]
        assert (first["pid"] == changed["pid"] == again["pid"]) is (kind == "reuse")


async def test_whatever_a_killed_task_has_left_is_gone_before_the_next_one_comes(opened: Any) -> None:
    async with opened("fork") as bench:
        first = await bench.runs(SURROUNDINGS)
        for last in ("os.kill(os.getpid(), 9)", "os._exit(3)", "shutil.rmtree(here.parent) or os.kill(os.getpid(), 9)"):
            script = f"""
import shutil
here = Path.cwd()
for place in (here, Path(os.environ["HOME"]), Path(os.environ["TMPDIR"]), Path(current_context().working_directory)):
    (place / "left").mkdir(); (place / "left" / "file").write_text("left"); (place / "left").chmod(0)
{last}
"""
            ended = await bench.report(bench.assigned("runs", script))
            assert ended.phase == executor_pb2.Report.PHASE_FAILED
            again = await bench.runs(SURROUNDINGS)
            for place in ("cwd", "here", "temporary", "desk", "home"):
                assert again[place] == first[place], last


LEFT_IN_ITS_PLACE = {
    "a link": "shutil.rmtree(here); here.symlink_to({precious!r})",
    "a dangling link": "shutil.rmtree(here); here.symlink_to('/nowhere/at/all')",
    "a file": "shutil.rmtree(here); here.write_text('left')",
}


@both
async def test_whatever_a_task_makes_of_its_directories_it_has_ended_well_and_the_next_finds_its_own(
    opened: Any, kind: str, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    look = "os.path.islink(os.environ['TMPDIR']), os.listdir(os.environ['TMPDIR']), os.path.islink(os.environ['HOME'])"
    async with opened(kind) as bench:
        found = await bench.does(look)
        for what, words in LEFT_IN_ITS_PLACE.items():
            (precious / what).write_text("")
            replace = words.format(precious=str(precious))
            await bench.runs(
                f"import shutil\nfor here in Path(os.environ['TMPDIR']), Path(os.environ['HOME']):\n    {replace}"
            )
            assert await bench.does(look) == found, what
            assert await bench.does(look) == found, what
        assert {path.name for path in precious.iterdir()} == set(LEFT_IN_ITS_PLACE)


@both
async def test_what_a_module_sets_when_it_is_imported_is_there_for_its_tasks(opened: Any, kind: str) -> None:
    async with opened(kind) as bench:
        code = bench.tmp_path / "code" / "sets.py"
        sets = "os.environ.update(SET='when imported', PATH='/mine:' + os.environ['PATH']); del os.environ['LANG']"
        code.write_text(f"{warm.MODULE}\n{sets}\n")
        found = "os.environ.get('SET'), os.environ['PATH'].count('/mine:'), os.environ.get('LANG')"
        changes = "os.environ.pop('SET') and os.environ.update(PATH='/left', LANG='left')"
        for _ in range(2):
            assert await bench.does(f"({found}), {changes}", module="sets") == "(('when imported', 1, None), None)"


@both
async def test_a_stopped_task_ends_with_everything_that_it_started(opened: Any, kind: str, tmp_path: Path) -> None:
    async with opened(kind) as bench:
        script = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM; while true; do sleep 1; done"])
fork = os.fork()
if not fork:
    os.setsid(); time.sleep(600)
Path({str(tmp_path / "pids")!r}).write_text(f"{{os.getpid()}} {{child.pid}} {{fork}} all")
time.sleep(600)
"""
        assigned = bench.assigned("runs", script)
        bench.session.assign(assigned)
        pids = tmp_path / "pids"
        await until(lambda: pids.exists() and pids.read_text().endswith("all"))
        bench.session.stop(assigned[0].id, "enough")
        report = await bench.session.final(assigned[0].id)
        assert (report.phase, report.reason) == (executor_pb2.Report.PHASE_ABORTED, "enough")
        assert not [pid for pid in pids.read_text().split()[:-1] if alive(int(pid))]
        late = await bench.report(bench.assigned("does", "time.sleep(600)", time_allowed_us=300_000))
        assert error_of(late).code == "TimeoutExpired"


@both
async def test_a_killed_warden_costs_its_task_and_what_that_left_behind_goes_too(
    opened: Any, kind: str, tmp_path: Path
) -> None:
    async with opened(kind) as bench:
        pids = tmp_path / "pids"
        script = f"""
if not os.fork():
    os.setsid(); Path({str(pids)!r}).write_text(str(os.getpid())); time.sleep(600)
while not os.path.exists({str(pids)!r}):
    time.sleep(0.01)
os.kill(os.getppid(), 9)
time.sleep(600)
"""
        report = await bench.report(bench.assigned("runs", script))
        assert (error_of(report).code, report.recoverable) == ("Interrupted", True)
        assert not alive(int(pids.read_text()))


@both
async def test_a_task_above_its_memory_limit_is_killed_as_out_of_memory(opened: Any, kind: str) -> None:
    limits = [tasks_pb2.Resources.ResourceEntry(name=tasks_pb2.Resources.MEMORY, value="300Mi")]
    async with opened(kind) as bench:
        what = "(big := bytearray(600 << 20)) and time.sleep(60)"
        report = await bench.report(bench.assigned("does", what, resources_=tasks_pb2.Resources(limits=limits)))
        assert (error_of(report).code, error_of(report).kind, report.recoverable) == ("OOMKilled", USER, True)


@both
async def test_what_a_task_prints_is_in_its_own_log_alone_also_what_children_print(opened: Any, kind: str) -> None:
    async with opened(kind, log_limit_bytes=1000) as bench:
        loud = bench.assigned("does", "print('loud') or os.write(2, b'raw') and os.system('echo child')")
        quiet = bench.assigned("does", "1")
        long = bench.assigned("does", "print(*range(10000), sep='\\n')")
        for assigned in (loud, quiet, long):
            warm.value(await bench.report(assigned))
        assert Path(loud[0].log_uri).read_text() == "loud\nrawchild\n"
        assert not Path(quiet[0].log_uri).exists()
        log = Path(long[0].log_uri).read_text()
        assert log.startswith("0\n1\n") and log.endswith("9998\n9999\n") and "bytes are missing here" in log
        assert len(log) < 20_000


async def test_a_kept_process_runs_the_next_task_unless_the_last_has_left_something(opened: Any) -> None:
    async with opened("reuse", reuse_memory_bytes=64 << 20, reuse_tasks=6) as bench:
        pid = await bench.does("os.getpid()")
        assert await bench.does("os.getpid()") == pid
        ended = "os.system('(true &)'), os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)"
        assert await bench.does(f"({ended}, os.getpid())[2]") == await bench.does("os.getpid()") == pid
        for leak in (
            "threading.Thread(target=time.sleep, args=(0.1,)).start()",
            "subprocess.Popen(['sleep', '600'])",
            "os.system('(setsid sleep 600 &)')",
            "[os.open('/dev/null', os.O_RDONLY) for _ in range(50)]",
            "globals().update(kept=bytearray(b'x' * (128 << 20)))",
        ):
            left = await bench.does(f"({leak}, os.getpid())[1]")
            assert left != await bench.does("os.getpid()"), leak
        last = await bench.does("os.getpid()")
        pids = [await bench.does("os.getpid()") for _ in range(6)]
        assert pids[:4] == [last] * 4 and pids[4] == pids[5] != last, "it ends after its sixth task"


async def test_what_a_process_that_dies_was_given_and_has_not_begun_runs_in_another(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose directories cannot be put back: it has told how its task has ended, and is given the next."""
    monkeypatch.setenv("AIRSCREW_EXECUTOR_SECRET_MY_TOKEN", "hush")
    async with opened("reuse") as bench:
        script = """
def put_back(directories):
    while not os.path.exists({given!r}):
        time.sleep(0.001)
    raise OSError("something resists")
sys.modules["_airscrew_desks"].put_back = put_back
names["pid"] = os.getpid()
"""
        for secrets in ([], [Secret(group="my", key="token", mount_requirement=Secret.ENV_VAR)]):
            given = bench.tmp_path / f"given{len(secrets)}"
            first = await bench.runs(script.format(given=str(given)))
            following = bench.assigned("does", "os.getpid()")
            following[1].security_context.secrets.extend(secrets)
            bench.session.assign(following)
            await bench.session.running(following[0].id)
            given.touch()
            assert warm.value(await bench.session.final(following[0].id)) != str(first["pid"])


@both
async def test_where_no_process_can_be_started_the_attempt_ends_and_says_why(opened: Any, kind: str) -> None:
    async with opened(kind) as bench:
        script = """
class Full:
    def __getattr__(self, name):
        return getattr(os, name)
    def fork(self):
        raise BlockingIOError(11, "no more processes")
sys.modules["_airscrew_supervisor"].os = Full()
"""
        (bench.tmp_path / "code" / "full.py").write_text(warm.MODULE + script)
        report = await bench.report(bench.assigned("does", "1", module="full"))
        assert (error_of(report).code, error_of(report).kind, report.recoverable) == ("ProcessNotStarted", SYSTEM, True)
        assert "no more processes" in error_of(report).message


async def test_an_attempt_whose_processes_die_before_they_begin_takes_no_third_and_none_when_it_is_stopped(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    start = keeping.KeptProcesses.start

    async def counted(self: Any, *arguments: Any) -> Any:
        started.append(arguments)
        return await start(self, *arguments)

    monkeypatch.setattr(keeping.KeptProcesses, "start", counted)
    async with opened("reuse") as bench:
        hold, ran, go, began = (bench.tmp_path / name for name in ("hold", "ran", "go", "began"))
        script = f"""
begin = sys.modules["_airscrew_warden"]._begin
def late():
    begin()
    while os.path.exists({str(hold)!r}):
        time.sleep(0.001)
sys.modules["_airscrew_warden"]._begin = late
"""
        code = bench.tmp_path / "code"
        (code / "late.py").write_text(warm.MODULE + script)
        (code / "deadly.py").write_text(warm.MODULE + "\nsys.modules['_airscrew_supervisor'].Supervisor = None")
        wait = f"[time.sleep(0.001) for _ in iter(lambda: os.path.exists({str(go)!r}), True)]"
        before = bench.assigned("does", f"Path({str(began)!r}).touch() or {wait}", module="late")
        bench.session.assign(before)
        await until(began.exists)
        hold.touch()
        stopped = bench.assigned("does", f"Path({str(ran)!r}).touch()", module="late")
        bench.session.assign(stopped)
        await bench.session.running(stopped[0].id)
        go.touch()
        warm.value(await bench.session.final(before[0].id))
        bench.session.stop(stopped[0].id)
        assert (await bench.session.final(stopped[0].id)).phase == executor_pb2.Report.PHASE_ABORTED
        assert not ran.exists(), "the process of the first was free"

        little = [tasks_pb2.Resources.ResourceEntry(name=tasks_pb2.Resources.MEMORY, value="1Mi")]
        resources = tasks_pb2.Resources(limits=little)
        for module, why in ("late", "OOMKilled"), ("deadly", "ProcessNotStarted"):
            started.clear()
            report = await bench.report(bench.assigned("does", "1", module=module, resources_=resources))
            assert (error_of(report).code, report.recoverable, len(started)) == (why, True, 2)


async def test_secrets_are_of_one_task_alone(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRSCREW_EXECUTOR_SECRET_MY_TOKEN", "hush")
    look = "names.update(environment=dict(os.environ), pid=os.getpid())"
    async with opened("reuse") as bench:
        secret = Secret(group="my", key="token", mount_requirement=Secret.ENV_VAR, env_var="TOKEN")
        file = Secret(group="my", key="token", mount_requirement=Secret.FILE, env_var="TOKEN_FILE")
        assigned = bench.assigned("runs", f"{look}; names['file'] = Path(os.environ['TOKEN_FILE']).read_text()")
        assigned[1].security_context.secrets.extend([secret, file])
        told = json.loads(warm.value(await bench.report(assigned)))
        assert told["environment"]["TOKEN"] == told["file"] == "hush"
        after = await bench.runs(look)
        assert after["pid"] == told["pid"] and "hush" not in str(after)
        await until(lambda: not Path(told["environment"]["TOKEN_FILE"]).exists())


async def test_code_whose_import_leaves_threads_or_fails_starts_cold_or_tells_so_itself(
    opened: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened("fork") as bench:
        code = tmp_path / "code"
        (code / "threaded.py").write_text(
            f"{warm.MODULE}\nthreading.Thread(target=time.sleep, args=(900,), daemon=True).start()"
        )
        (code / "broken.py").write_text("raise RuntimeError('no such luck')")
        before = bench.assigned("does", "time.sleep(3) or os.getppid()")
        bench.session.assign(before)
        await bench.session.running(before[0].id)
        assert "(sleep)" in await bench.does("threading.enumerate()", module="threaded")
        assert "threaded" in caplog.text and "start cold: importing it starts threads" in caplog.text
        report = await bench.report(bench.assigned("does", "1", module="broken"))
        assert "no such luck" in error_of(report).message and not report.recoverable
        warm.value(await bench.session.final(before[0].id))


async def test_a_zygote_has_no_more_open_files_however_much_it_imports(opened: Any) -> None:
    async with opened("fork") as bench:
        count = "len(os.listdir('/proc/self/fd')), len(os.listdir(f'/proc/{os.getppid()}/fd'))"
        found = []
        for number in range(6):
            (bench.tmp_path / "code" / f"module{number}.py").write_text(warm.MODULE)
            found.append(await bench.does(count, module=f"module{number}"))
        assert set(found) == {found[0]}


async def test_zygotes_are_bounded_and_retire_and_all_can_be_switched_off(opened: Any, tmp_path: Path) -> None:
    warm = tmp_path / "data" / "warm"
    async with opened("fork", zygotes=1, zygote_idle_seconds=2.0) as bench:
        assert await bench.does("os.environ['A']", env=env(tmp_path, A="1")) == "1"
        assert len(list(warm.iterdir())) == 1
        assert await bench.does("os.environ['A']", env=env(tmp_path, A="2")) == "2"
        await until(lambda: not list(warm.iterdir()))
    async with opened("reuse", warm=False) as bench:
        assert await bench.does("1 + 1") == "2"
        assert not list(warm.iterdir())


def env(tmp_path: Path, **more: str) -> list[dict[str, str]]:
    return [{"key": name, "value": text} for name, text in {"PYTHONPATH": str(tmp_path / "code"), **more}.items()]


async def test_a_killed_zygote_costs_what_runs_and_the_next_task_gets_another(opened: Any, tmp_path: Path) -> None:
    async with opened("fork") as bench:
        kill = "os.kill(int(open(f'/proc/{os.getppid()}/stat').read().split()[3]), 9)"
        assigned = bench.assigned(
            "does", f"({kill}, __import__('time').sleep(60))"
        )  # or it would end before it is ended
        report = await bench.report(assigned)
        assert (error_of(report).code, report.recoverable) == ("Interrupted", True)
        assert await bench.does("1 + 1") == "2"


async def test_a_thousand_tasks_leave_no_process_descriptor_or_file(opened: Any, tmp_path: Path) -> None:
    async with opened("reuse") as bench:
        await bench.does("1")

        def left() -> tuple[int, int, set[str]]:
            files = {str(path) for path in (tmp_path / "data" / "warm").rglob("*")}
            return len(os.listdir("/proc/self/fd")), len(processes.inside(tmp_path / "data")), files

        bench.session.assign(*(each := [bench.assigned("does", "2 + 2") for _ in range(4)]))
        await asyncio.gather(*(bench.session.final(assign.id) for assign, _ in each))
        before = left()
        for _ in range(250):
            each = [bench.assigned("does", "2 + 2") for _ in range(4)]
            bench.session.assign(*each)
            for assign, _ in each:
                assert warm.value(await bench.session.final(assign.id)) == "4"
            bench.session.reports.clear()
        assert left() == before
        assert not list((tmp_path / "data" / "scratch").iterdir()) and not (tmp_path / "blob" / "metadata").exists()
