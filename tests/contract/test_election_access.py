"""Elections against an etcd that asks who one is: by certificates, by user and password."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import etcd3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from libs.election import Access, Election
from libs.workflow import errors
from services.standalone.etcd import Etcd, EtcdServer

PASSWORD = "correct horse"


def election(access: Access) -> Election:
    return Election(access, key="/airscrew/shards/0/leader", holder="a", address="a:1", ttl_seconds=2)


class Certificates:
    """A certificate authority, and one certificate of it for both sides."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.certificate, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        authority = self._signed("authority", authority_key, "authority", authority_key, is_authority=True)
        certificate = self._signed("etcd", key, "authority", authority_key, is_authority=False)
        self.ca.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @staticmethod
    def _signed(name: str, key: Any, issuer: str, issuer_key: Any, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)

        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )


@pytest.fixture
def secured(etcd_binary: Etcd, tmp_path: Path) -> Iterator[tuple[str, Certificates]]:
    """An etcd that speaks TLS only, and only to those with a certificate; its endpoint."""
    certificates = Certificates(tmp_path)
    server = EtcdServer(etcd_binary, tmp_path / "etcd")
    command = [
        argument.replace(f"http://{server.endpoint}", f"https://{server.endpoint}") for argument in server.command()
    ]
    command += [
        f"--cert-file={certificates.certificate}",
        f"--key-file={certificates.key}",
        f"--trusted-ca-file={certificates.ca}",
        "--client-cert-auth",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield server.endpoint, certificates
    process.kill()
    process.wait()


async def test_certificates_let_us_in_and_nothing_else_does(secured: tuple[str, Certificates]) -> None:
    endpoint, files = secured
    async with election(Access((endpoint,), ca=files.ca, certificate=files.certificate, key=files.key)) as ours:
        async with asyncio.timeout(20):
            leadership = await ours.campaign()
        await asyncio.sleep(2.5)
        assert not leadership.lost.is_set()
    for stranger in (Access((endpoint,)), Access((endpoint,), ca=files.ca)):
        async with election(stranger) as theirs:
            with pytest.raises(errors.Unavailable, match="did not read"):
                await theirs.leader()


@pytest.fixture
def guarded(etcd_binary: Etcd, tmp_path: Path) -> Iterator[str]:
    """An etcd with authentication, whose tokens last a few seconds only; its endpoint."""
    server = EtcdServer(etcd_binary, tmp_path / "etcd")
    command = [*server.command(), "--auth-token-ttl=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server.wait_ready()
        _turn_authentication_on(server.endpoint)
        yield server.endpoint
    finally:
        process.kill()
        process.wait()


def _turn_authentication_on(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    with etcd3.client(host, int(port), timeout=5) as client:
        rpc = etcd3.etcdrpc
        client.authstub.UserAdd(rpc.AuthUserAddRequest(name="root", password=PASSWORD))
        client.authstub.RoleAdd(rpc.AuthRoleAddRequest(name="root"))
        client.authstub.UserGrantRole(rpc.AuthUserGrantRoleRequest(user="root", role="root"))
        client.authstub.AuthEnable(rpc.AuthEnableRequest())


async def test_a_user_is_let_in_for_longer_than_its_token_lasts(guarded: str) -> None:
    async with election(Access((guarded,), user="root", password=PASSWORD)) as ours:
        async with asyncio.timeout(10):
            leadership = await ours.campaign()
        await asyncio.sleep(5)
        assert not leadership.lost.is_set() and leadership.deadline() > time.monotonic()
        info = await ours.leader()
        assert info is not None and info.holder == "a"


@pytest.mark.parametrize("access", [{}, {"user": "root", "password": "wrong"}])
async def test_who_is_not_known_hears_why(guarded: str, access: dict[str, str]) -> None:
    async with election(Access((guarded,), **access)) as ours:
        with pytest.raises(errors.Unavailable, match=r"user name is empty|authentication failed"):
            await ours.leader()
