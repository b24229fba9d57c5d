"""The life of a process, watched from outside: signals, failures, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `ready` is printed when the signals are obeyed; what follows is the body of the service.
_PROGRAM = """
import asyncio, sys
from libs import settings
from libs.runtime import process

async def main(life):
    print("ready", flush=True)
{body}

sys.exit(process.run("example", main))
"""


def start(body: str, **environ: str) -> subprocess.Popen[str]:
    program = _PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[dict[str, str]]]:
    """The exit code, what was printed, and the log lines."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_service_stop_in_its_order(number: signal.Signals) -> None:
    process = start(
        """
        async def sweep():
            try:
                await asyncio.sleep(3600)
            finally:
                print("sweep ended")
        life.spawn("sweep", sweep())
        await life.stopping.wait()
        await asyncio.sleep(0.1)
        print("served")
        """
    )
    wait_ready(process)
    process.send_signal(number)
    code, out, _ = finish(process)
    assert (code, out.splitlines()) == (0, ["served", "sweep ended"])


def test_a_second_signal_exits_at_once() -> None:
    process = start(
        """
        await life.stopping.wait()
        print("stopping", flush=True)
        await asyncio.sleep(3600)
        """
    )
    wait_ready(process)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 128 + signal.SIGTERM


def test_a_task_that_fails_ends_the_process_and_is_named() -> None:
    process = start(
        """
        async def sweep():
            raise OSError("no disk")
        life.spawn("sweep", sweep())
        try:
            await life.stopping.wait()
        finally:
            print("closed")
        """
    )
    code, out, log = finish(process)
    assert (code, out) == (1, "ready\nclosed\n")
    (failure,) = [line for line in log if line["level"] == "error"]
    assert failure["message"] == "task sweep failed: the process ends"
    assert "OSError: no disk" in failure["exception"]


def test_a_service_that_fails_ends_the_process() -> None:
    code, _, log = finish(start("raise OSError('no disk')"))
    assert code == 1
    assert "example failed: the process ends" in [line["message"] for line in log]


def test_an_eternal_task_that_ends_is_remarked_and_a_finite_one_is_not() -> None:
    process = start(
        """
        async def end():
            pass
        life.spawn("sweep", end())
        life.spawn("greeting", end(), eternal=False)
        await asyncio.sleep(0.1)
        """
    )
    code, _, log = finish(process)
    assert code == 0
    assert [line["message"] for line in log if line["level"] == "warning"] == [
        "task sweep ended although it should run as long as the process"
    ]


def test_mistakes_in_the_settings_are_told_in_plain_words() -> None:
    process = start("raise settings.SettingsError(['AIRSCREW_A is not set', 'AIRSCREW_B is not set'])")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == "airscrew example cannot start:\nAIRSCREW_A is not set\nAIRSCREW_B is not set\n"


def test_a_bad_log_level_is_such_a_mistake() -> None:
    process = start("pass", AIRSCREW_LOG_LEVEL="loud")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "LOG_LEVEL: 'loud'" in err


def test_a_collector_that_is_away_delays_nothing_but_the_end_and_that_little() -> None:
    process = start(
        """
        from libs.telemetry.traces import TraceContext
        from libs.telemetry.metrics import Kind, Level, Metric
        assert life.tracing.enabled and life.metering.enabled
        life.metering.observe(Metric("things", Kind.GAUGE, "{thing}", "Things"), lambda: [Level(1, {})])
        for number in range(1000):
            life.tracing.emit("execution", TraceContext(1, number + 1, True), None, 1, 2)
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    process.communicate(timeout=15)
    assert process.returncode == 0


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "services.queue", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)


def test_help_names_the_variables_with_their_defaults_and_starts_nothing() -> None:
    answer = told("--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "AIRSCREW_QUEUE_LISTEN  must be set\n    Where it serves: " in answer.stdout
    assert "AIRSCREW_QUEUE_TYPE  default: simple\n" in answer.stdout
    assert "AIRSCREW_QUEUE_LOG_LEVEL  default: info\n" in answer.stdout


def test_arguments_that_nobody_reads_are_refused() -> None:
    refused = told("--listen", "localhost:1")
    assert refused.returncode == 2
    assert refused.stderr == "airscrew queue takes no arguments, only variables: see --help\n"
