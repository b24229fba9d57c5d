"""The few plain etcd calls that an election needs, over several endpoints, for the use of one thread.

A connection that failed in any way is thrown away and the next endpoint is tried on a new one. That also gets rid of
expired authentication tokens, of gRPC's own back-off, and of the 300 s for which `etcd3` shuns an endpoint.

Every call either answers or raises `Unavailable`, within `timeout_seconds` per endpoint tried. For the one call that
is not idempotent, `put_if_absent`, `Unavailable` means that the outcome is unknown: it may have happened. It is never
repeated here; the caller reads back.

Members without a leader refuse at once (`hasleader`) instead of letting the call run into its deadline.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import etcd3
import grpc
from etcd3 import etcdrpc

from libs.workflow import errors

logger = logging.getLogger(__name__)

T = TypeVar("T")

MINIMUM_VERSION: Final = (3, 5, 13)
"""Servers before it revoke leases wrongly after a change of the etcd leader."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),  # a new connection must not inherit the back-off of the one thrown away
    ("grpc.enable_http_proxy", 0),
)
_REQUIRE_LEADER: Final = ("hasleader", "true")
_NEVER_SHUN: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach etcd and who we are there."""

    endpoints: tuple[str, ...]
    """`host:port` of each member; `[address]:port` for IPv6."""
    ca: Path | None = None
    """Certificate authority in PEM; None is plain text. Files are read anew for each connection."""
    certificate: Path | None = None
    """Our own certificate, where the server asks for one; with `key`."""
    key: Path | None = None
    user: str | None = None
    """With `password`, where etcd's authentication is on."""
    password: str | None = field(default=None, repr=False)
    refuse_old_servers: bool = False
    """Whether a server below `MINIMUM_VERSION` is refused rather than warned about."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("etcd needs at least one endpoint")
        for endpoint in self.endpoints:
            host, _, port = endpoint.rpartition(":")
            if not host or "/" in host or not port.isdigit():
                raise ValueError(f"etcd endpoint {endpoint!r} is not host:port")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("etcd client certificate and key must be given together")
        if self.certificate is not None and self.ca is None:
            raise ValueError("an etcd client certificate needs the certificate authority too")
        if (self.user is None) != (self.password is None):
            raise ValueError("etcd user and password must be given together")


class Lease(NamedTuple):
    """A lease as granted."""

    id: int
    ttl_seconds: int


class Reading(NamedTuple):
    """A key as it is now. For an absent key `value` is None and the numbers are 0."""

    cluster_id: str
    """Which etcd cluster said so, in hexadecimal."""
    value: bytes | None = None
    create_revision: int = 0
    lease_id: int = 0


class Etcd:
    """One connection at a time, to the endpoint that worked last."""

    def __init__(self, access: Access, timeout_seconds: float) -> None:
        self._access = access
        self._timeout = timeout_seconds
        self._position = 0
        self._client: Any = None

    def grant(self, ttl_seconds: int) -> Lease:
        """A new lease. When this raises there may be one that nobody knows; it expires by itself."""
        lease = self._call("grant a lease", lambda client: client.lease(ttl_seconds))
        return Lease(lease.id, lease.ttl)

    def refresh(self, lease_id: int) -> int:
        """Seconds until the lease expires, counted from a moment after this call began; 0 when it is gone."""
        return int(self._call("refresh a lease", lambda client: _refresh_once(client, lease_id)).TTL)

    def revoke(self, lease_id: int) -> None:
        """Ends the lease and deletes its keys. A lease that is gone already is fine."""
        self._call("revoke a lease", lambda client: _unless_gone(lambda: client.revoke_lease(lease_id)))

    def read(self, key: str) -> Reading:
        """The key as the majority of the cluster has it."""
        reply = self._call("read", lambda client: client.get_response(key))
        cluster_id = f"{reply.header.cluster_id:x}"
        if not reply.kvs:
            return Reading(cluster_id)
        found = reply.kvs[0]
        return Reading(cluster_id, found.value, found.create_revision, found.lease)

    def read_all(self, prefix: str) -> dict[str, Reading]:
        """Every key that begins so, all as of one moment."""
        reply = self._call("read", lambda client: client.get_prefix_response(prefix))
        cluster_id = f"{reply.header.cluster_id:x}"
        return {
            found.key.decode(): Reading(cluster_id, found.value, found.create_revision, found.lease)
            for found in reply.kvs
        }

    def put_if_absent(self, key: str, value: bytes, lease_id: int) -> bool:
        """Creates the key under the lease unless it exists. Tried once: after `Unavailable` it may exist."""

        def put(client: Any) -> bool:
            succeeded, _ = client.transaction(
                compare=[client.transactions.create(key) == 0],
                success=[client.transactions.put(key, value, lease_id)],
                failure=[],
            )
            return bool(succeeded)

        return self._call("claim a key", put, tries=1)

    def close(self) -> None:
        """Closes the connection; the next call opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _call(self, what: str, call: Callable[[Any], T], tries: int = 0) -> T:
        """`call` on a working connection; by default on as many as there are endpoints, and on two at least."""
        failures = []
        for _ in range(tries or max(2, len(self._access.endpoints))):
            endpoint = self._access.endpoints[self._position]
            try:
                return call(self._connected(endpoint))
            except (grpc.RpcError, etcd3.Etcd3Exception, OSError) as error:
                failures.append(f"{endpoint}: {_reason(error)}")
                self.close()
                self._position = (self._position + 1) % len(self._access.endpoints)
        raise errors.Unavailable(f"etcd did not {what}: {'; '.join(failures)}")

    def _connected(self, endpoint: str) -> Any:
        if self._client is None:
            client = self._connect(endpoint)
            try:
                self._check_version(client, endpoint)
            except BaseException:
                client.close()
                raise
            self._client = client
        return self._client

    def _connect(self, endpoint: str) -> Any:
        access = self._access
        host, _, port = endpoint.rpartition(":")
        credentials = _credentials(access)
        server = etcd3.Endpoint(
            host, int(port), credentials is not None, credentials, time_retry=_NEVER_SHUN, opts=_CHANNEL_OPTIONS
        )
        try:
            client = etcd3.MultiEndpointEtcd3Client(
                [server], timeout=self._timeout, user=access.user, password=access.password
            )
        except BaseException:
            server.close()
            raise
        # The token is in the metadata already; as call credentials gRPC would refuse to send it without TLS.
        client.call_credentials = None
        client.metadata = (*(client.metadata or ()), _REQUIRE_LEADER)
        return client

    def _check_version(self, client: Any, endpoint: str) -> None:
        try:
            version = client.status().version
        except grpc.RpcError as error:  # where authentication is on, not every user may ask
            logger.warning("the version of etcd at %s is unknown: %s", endpoint, _reason(error))
            return
        if version_numbers(version) >= MINIMUM_VERSION:
            return
        minimum = ".".join(map(str, MINIMUM_VERSION))
        message = f"etcd {version} at {endpoint} is older than {minimum}: its leases are not reliable"
        if self._access.refuse_old_servers:
            raise errors.FailedPrecondition(message)
        logger.warning("%s", message)


def version_numbers(version: str) -> tuple[int, ...]:
    """`(3, 6, 0)` of `3.6.0-rc.1`."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in leading.group().split(".")) if leading else ()


def _credentials(access: Access) -> grpc.ChannelCredentials | None:
    if access.ca is None:
        return None
    return grpc.ssl_channel_credentials(
        access.ca.read_bytes(),
        access.key.read_bytes() if access.key is not None else None,
        access.certificate.read_bytes() if access.certificate is not None else None,
    )


def _refresh_once(client: Any, lease_id: int) -> Any:
    """A keep-alive stream of one message. `etcd3` has a stream's way for it, for which gRPC begins two threads, every
    time; on the wire a call with one request and one answer is the same."""
    call = client.channel.unary_unary(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        request_serializer=etcdrpc.LeaseKeepAliveRequest.SerializeToString,
        response_deserializer=etcdrpc.LeaseKeepAliveResponse.FromString,
    )
    return call(etcdrpc.LeaseKeepAliveRequest(ID=lease_id), client.timeout, metadata=client.metadata)


def _unless_gone(call: Callable[[], None]) -> None:
    try:
        call()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise


def _reason(error: Exception) -> str:
    """In a few words; `etcd3` puts an empty error of its own in front of gRPC's, which says more."""
    status: Any = error if isinstance(error, grpc.RpcError) else error.__context__
    if isinstance(status, grpc.RpcError):
        return f"{status.code().name} {status.details()}"
    return str(error) or type(error).__name__
