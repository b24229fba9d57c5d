"""TLS between our own servers and channels, over real sockets and real certificates."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.rpc import channel, security, server
from libs.settings import SettingsError

NAME = "airscrew.internal"


def authority(folder: Path, name: str) -> None:
    run(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2", f"-subj /CN={name}",
        f"-keyout {name}.key -out {name}.pem")  # fmt: skip


def certificate(folder: Path, name: str, issuer: str) -> None:
    (folder / "names.cnf").write_text(f"subjectAltName=DNS:{NAME}\n")
    run(folder, "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes", f"-subj /CN={name}",
        f"-keyout {name}.key -out {name}.csr")  # fmt: skip
    run(folder, f"x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -days 2",
        f"-extfile names.cnf -out {name}.pem")  # fmt: skip


def run(folder: Path, *arguments: str) -> None:
    command = ["openssl", *" ".join(arguments).split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        authority(folder, name)
    certificate(folder, "service", "ours")
    certificate(folder, "stranger", "theirs")
    return folder


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    security.configured.cache_clear()
    yield
    security.configured.cache_clear()


def configure(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    for name in security.RpcSettings.__dataclass_fields__:
        monkeypatch.delenv(f"AIRSCREW_{name.upper()}", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRSCREW_{name.upper()}", str(value))
    security.configured.cache_clear()


async def asked(address: str, service: str = "") -> Any:
    """What health says there; the status of the failure where it cannot be asked."""
    async with channel.connect(address) as connection:
        try:
            stub: Any = health_pb2_grpc.HealthStub(connection)
            return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status
        except grpc.aio.AioRpcError as error:
            return error.code()


async def test_a_channel_of_the_installation_reaches_a_pod_by_its_address_and_no_other_channel_does(
    monkeypatch: pytest.MonkeyPatch, keys: Path
) -> None:
    service = {"tls_cert_file": keys / "service.pem", "tls_key_file": keys / "service.key"}
    ours = service | {"tls_ca_file": keys / "ours.pem", "tls_server_name": NAME}
    configure(monkeypatch, **ours, tls_client_auth=True, health_listen="127.0.0.1:0")
    running = server.build("127.0.0.1:0", services={})
    address = await running.start()
    running.ready()
    assert await asked(address) == health_pb2.HealthCheckResponse.SERVING

    configure(monkeypatch)  # no TLS
    assert await asked(address) is grpc.StatusCode.UNAVAILABLE
    configure(monkeypatch, tls_ca_file=keys / "theirs.pem", tls_server_name=NAME)  # trusts somebody else
    assert await asked(address) is grpc.StatusCode.UNAVAILABLE
    configure(monkeypatch, tls_ca_file=keys / "ours.pem", tls_server_name=NAME)  # has no certificate
    assert await asked(address) is grpc.StatusCode.UNAVAILABLE
    stranger = {"tls_cert_file": keys / "stranger.pem", "tls_key_file": keys / "stranger.key"}
    configure(monkeypatch, **ours | stranger)
    assert await asked(address) is grpc.StatusCode.UNAVAILABLE
    configure(monkeypatch, **ours | {"tls_server_name": ""})  # the address is not in the certificate
    assert await asked(address) is grpc.StatusCode.UNAVAILABLE
    await running.stop(0)


async def test_probes_find_health_and_nothing_else_without_tls(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    configure(monkeypatch, tls_cert_file=keys / "service.pem", tls_key_file=keys / "service.key",
              health_listen="unix:" + str(keys / "health.sock"))  # fmt: skip
    running = server.build("127.0.0.1:0", services={})
    await running.start()
    configure(monkeypatch)
    probed = "unix:" + str(keys / "health.sock")
    assert await asked(probed) == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await asked(probed, server.LIVE) == health_pb2.HealthCheckResponse.SERVING
    running.ready()
    assert await asked(probed) == health_pb2.HealthCheckResponse.SERVING
    running.not_serving()
    assert await asked(probed) == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await asked(probed, server.LIVE) == health_pb2.HealthCheckResponse.SERVING, "who drains must not be killed"
    await running.stop(0)
    assert await asked(probed) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_is_replaced_is_used_by_the_next_connection(
    monkeypatch: pytest.MonkeyPatch, keys: Path, tmp_path: Path
) -> None:
    def lay(name: str) -> None:
        for end in ("key", "pem"):
            (tmp_path / f"tls.{end}").write_bytes((keys / f"{name}.{end}").read_bytes())

    lay("stranger")
    configure(monkeypatch, tls_cert_file=tmp_path / "tls.pem", tls_key_file=tmp_path / "tls.key")
    running = server.build("127.0.0.1:0", services={})
    address = await running.start()
    configure(monkeypatch, tls_ca_file=keys / "ours.pem", tls_server_name=NAME)
    assert await asked(address) is grpc.StatusCode.UNAVAILABLE
    lay("service")
    assert await asked(address) == health_pb2.HealthCheckResponse.NOT_SERVING
    await running.stop(0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tls_cert_file": __file__}, "TLS_KEY_FILE"),
        ({"tls_client_auth": True}, "TLS_CA_FILE"),
        ({"tls_ca_file": "/nowhere"}, "TLS_CA_FILE: '/nowhere' is not a file"),
        ({"max_connection_age_seconds": -1}, "MAX_CONNECTION_AGE_SECONDS"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], named: str
) -> None:
    configure(monkeypatch, **settings)
    with pytest.raises(SettingsError, match=named):
        security.configured()


async def test_a_connection_is_ended_when_it_is_old_and_its_client_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, max_connection_age_seconds=0.1)
    running = server.build("127.0.0.1:0", services={})
    address = await running.start()
    async with channel.connect(address) as connection:
        stub: Any = health_pb2_grpc.HealthStub(connection)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert connection.get_state() is grpc.ChannelConnectivity.READY
        await connection.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    await running.stop(0)
