"""How this process proves itself on the wire, and whom it believes: one answer for all of its servers and channels.

Without certificates nothing is encrypted, which is for one machine, or for a mesh that does it. With them every server
of the process speaks TLS, and every channel expects it. The files may be replaced at any time, as cert-manager does:
new connections use what lies there then.

Addresses of leaders are addresses of pods, which no certificate names. So all certificates of an installation carry one
name more, and channels that dial inside ask for that one: `TLS_SERVER_NAME`.

Kubernetes' probes speak no TLS: `HEALTH_LISTEN` is where the health service, and it alone, answers without.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import grpc

from libs import settings


@dataclass(frozen=True)
class RpcSettings:
    """What every process reads about its servers and channels."""

    tls_cert_file: str = ""
    """Certificate chain, PEM, that servers prove themselves with, and channels where a server asks for it."""

    tls_key_file: str = ""
    """Its private key."""

    tls_ca_file: str = ""
    """Certificate authorities, PEM, that the other side's certificate must be of."""

    tls_server_name: str = ""
    """The name that servers inside the installation prove; empty: the one that was dialled."""

    tls_client_auth: bool = False
    """Whether servers refuse clients without a certificate of those authorities. Not for `admin` where flytekit is to
    reach it: that has none."""

    health_listen: str = ""
    """`host:port` where health is answered without TLS too; empty: only where everything is."""

    max_connection_age_seconds: float = 0.0
    """After so long a client is asked to connect anew, so that replicas which were added later get their share; give or
    take a tenth. Calls that are under way end where they began. 0: never."""

    def __post_init__(self) -> None:
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE must be set together")
        if self.tls_client_auth and not (self.tls_ca_file and self.tls_cert_file):
            raise ValueError("TLS_CLIENT_AUTH needs TLS_CERT_FILE and TLS_CA_FILE")
        if self.max_connection_age_seconds < 0:
            raise ValueError("MAX_CONNECTION_AGE_SECONDS must not be negative")
        for name in ("tls_cert_file", "tls_key_file", "tls_ca_file"):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                raise ValueError(f"{name.upper()}: {path!r} is not a file")


@functools.cache
def configured() -> RpcSettings:
    """The settings of this process, from `AIRSCREW_<FIELD>`. Raises SettingsError."""
    return settings.load(RpcSettings, "rpc")


def server_credentials(rpc: RpcSettings) -> grpc.ServerCredentials | None:
    """What a server listens with; None for plain text."""
    if not rpc.tls_cert_file:
        return None
    current = _Pair(rpc)

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([current.read()], _content(rpc.tls_ca_file))

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=rpc.tls_client_auth
    )


def channel_credentials(rpc: RpcSettings) -> grpc.ChannelCredentials | None:
    """What a channel inside the installation connects with; None for plain text."""
    if not rpc.tls_ca_file:
        return None
    if not rpc.tls_cert_file:
        return grpc.ssl_channel_credentials(_content(rpc.tls_ca_file))
    key, chain = _Pair(rpc).read()
    return grpc.ssl_channel_credentials(_content(rpc.tls_ca_file), key, chain)


class _Pair:
    """A key and its certificate: two files. While they are being replaced, a key may be read that is newer than
    the certificate, so the last pair is kept until the certificate has changed too."""

    def __init__(self, rpc: RpcSettings) -> None:
        self._key, self._chain = Path(rpc.tls_key_file), Path(rpc.tls_cert_file)
        self._last: tuple[bytes, bytes] | None = None

    def read(self) -> tuple[bytes, bytes]:
        found = self._key.read_bytes(), self._chain.read_bytes()
        if self._last is None or found[1] != self._last[1]:
            self._last = found
        return self._last


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
