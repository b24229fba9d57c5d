from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.propeller.settings import PropellerSettings
from services.standalone import announce, datadir, plan, ports
from services.standalone.datadir import DataDir
from services.standalone.plan import Plan
from services.standalone.settings import CannotStart, Options
from services.standalone.stores import Stores

STORES = Stores("sqlite:////d/airscrew.db", "/d/blobs", ("127.0.0.1:2379",))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDir]:
    with datadir.opened(tmp_path / "data") as data:
        yield data


def options(data: DataDir, **choices: object) -> Options:
    return Options(**{"data_dir": data.root, "task_python": Path("/venv/bin/python"), "port": 0} | choices)  # type: ignore[arg-type]


def make(data: DataDir, inherited: dict[str, str] | None = None, **choices: object) -> Plan:
    return plan.make(options(data, **choices), data, STORES, inherited or {}, set())


def test_the_processes_find_each_other(data: DataDir) -> None:
    made = make(data)
    propeller, executor = made.propellers[0], made.executors[0]

    assert made.admin.environ["AIRSCREW_QUEUE"] == made.queue.environ["AIRSCREW_LISTEN"] == made.queue.address
    assert propeller.environ["AIRSCREW_PROPELLER_ADDRESS"] == propeller.environ["AIRSCREW_LISTEN"]
    assert executor.environ["AIRSCREW_PROPELLERS"] == propeller.address
    assert executor.environ["AIRSCREW_EXECUTOR_ADMIN_ADDRESS"] == made.endpoint
    assert made.endpoint == made.admin.address.replace("127.0.0.1", "localhost")


def test_no_two_processes_get_one_port(data: DataDir) -> None:
    made = make(data, database="postgresql://u@h/db", propellers=3, executors=3)
    programs = (made.queue, made.admin, *made.propellers, *made.executors)

    assert len({program.address for program in programs}) == len(programs) == 8
    assert made.http_url.rpartition(":")[2] not in {program.address.rpartition(":")[2] for program in programs}


def test_admin_and_propellers_agree_on_the_number_of_shards_whatever_the_environment_says(data: DataDir) -> None:
    inherited = {"AIRSCREW_SHARDS": "9", "AIRSCREW_ADMIN_SHARDS": "8", "AIRSCREW_PROPELLER_SHARDS": "7"}
    made = make(data, inherited, database="postgresql://u@h/db", propellers=2, shards=3)
    for service, program in (("ADMIN", made.admin), *(("PROPELLER", each) for each in made.propellers)):
        assert program.environ["AIRSCREW_SHARDS"] == "3"
        assert f"AIRSCREW_{service}_SHARDS" not in program.environ


@pytest.mark.parametrize("service", ["", "ADMIN_", "EXECUTOR_"])
def test_on_one_machine_tasks_are_processes_and_whoever_asks_for_pods_is_told_so(data: DataDir, service: str) -> None:
    name = f"AIRSCREW_{service}TASK_BACKEND"
    with pytest.raises(CannotStart, match=f"{name}=Pod: on one machine tasks are processes"):
        make(data, {name: "Pod"})
    made = make(data, {name: "process"})
    for program in (made.admin, *made.propellers, *made.executors):
        assert program.environ["AIRSCREW_TASK_BACKEND"] == "process"


def test_its_leader_may_be_killed_for_show_unless_the_user_says_otherwise(data: DataDir) -> None:
    name = "AIRSCREW_PROPELLER_CHAOS_ALLOWED"
    assert make(data).propellers[0].environ[name] == "true"
    assert make(data, {name: "false"}).propellers[0].environ[name] == "false"
    assert not PropellerSettings("", "", "", (), "").chaos_allowed


def test_the_executor_is_told_neither_database_nor_etcd_even_if_the_environment_names_them(data: DataDir) -> None:
    inherited = {
        "AIRSCREW_DATABASE": "postgresql://production",
        "AIRSCREW_EXECUTOR_ETCD": "etcd.production:2379",
        "AIRSCREW_SESSION_TOKEN": "stolen",
        "AIRSCREW_SIGNING_KEY_FILE": "/elsewhere",
    }
    environ = make(data, inherited).executors[0].environ

    assert not any("production" in value for value in environ.values())
    assert "AIRSCREW_DATABASE" not in environ
    assert "AIRSCREW_SESSION_TOKEN" not in environ
    assert "AIRSCREW_SIGNING_KEY_FILE" not in environ


def test_what_the_user_sets_for_a_service_reaches_it_and_wins_over_defaults(data: DataDir) -> None:
    inherited = {
        "AIRSCREW_EXECUTOR_CPU_MILLIS": "500",
        "AIRSCREW_EXECUTOR_SHUTDOWN_GRACE_SECONDS": "90",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317",
        "DATABASE": "not ours",
    }
    environ = make(data, inherited, executors=2).executors[0].environ

    assert inherited.items() <= environ.items()


def test_gpus_go_to_one_executor_only(data: DataDir) -> None:
    first, second = make(data, {"CUDA_VISIBLE_DEVICES": "0,1"}, executors=2).executors

    assert first.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert second.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_single_executor_looks_at_the_machine_itself(data: DataDir) -> None:
    (only,) = make(data).executors
    assert "AIRSCREW_EXECUTOR_CPU_MILLIS" not in only.environ

    first, second = make(data, executors=2).executors
    assert first.environ["AIRSCREW_EXECUTOR_CPU_MILLIS"] == second.environ["AIRSCREW_EXECUTOR_CPU_MILLIS"]
    assert first.environ["AIRSCREW_EXECUTOR_DATA_DIR"] != second.environ["AIRSCREW_EXECUTOR_DATA_DIR"]


def test_executors_stop_first_and_the_queue_last(data: DataDir) -> None:
    assert make(data, executors=2).stop_order == (("executor", "executor-2"), ("admin",), ("propeller",), ("queue",))


def test_a_port_in_use_is_refused_with_a_way_out(data: DataDir) -> None:
    with socket.socket() as other:
        other.bind((ports.LOOPBACK, 0))
        other.listen()
        with pytest.raises(CannotStart, match=f"port {other.getsockname()[1]} is in use .* --port"):
            make(data, port=other.getsockname()[1])


@pytest.mark.parametrize("database", [None, "sqlite:////tmp/x.db"])
def test_several_propellers_need_postgresql(data: DataDir, database: str | None) -> None:
    with pytest.raises(CannotStart, match="--propellers 2 needs PostgreSQL"):
        options(data, propellers=2, database=database).check()

    options(data, propellers=2, database="postgresql://u@h/db").check()


def test_a_relative_blob_directory_is_refused(data: DataDir) -> None:
    with pytest.raises(CannotStart, match="--blob here"):
        options(data, blob="here").check()


def test_the_user_is_told_where_it_is_and_what_to_type(data: DataDir) -> None:
    made = make(data)
    text = announce.ready(options(data), data, made, 2.34)

    assert made.endpoint in text
    assert f"-c {data.config} run --remote" in text
    assert f"airscrew watch @latest --endpoint {made.endpoint}" in text


def test_on_the_default_port_commands_need_no_endpoint(data: DataDir) -> None:
    made = make(data)
    usual = Plan(made.queue, made.admin, made.propellers, made.executors, "localhost:30080", made.http_url)

    assert "--endpoint" not in announce.ready(options(data), data, usual, 2.34)


def test_the_client_configuration_is_what_flytekit_reads() -> None:
    assert "endpoint: dns:///localhost:30080\n  insecure: true" in announce.client_config("localhost:30080")
