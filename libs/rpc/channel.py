"""A gRPC channel as every client of ours wants it: notices a dead peer within seconds and is back within two.

gRPC's defaults are for the open internet: it would back off up to two minutes, share that wait between channels to one
address, and never notice a peer that vanished while nothing is sent.
"""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio

from libs.rpc import security

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


def connect(address: str, *, max_message_bytes: int = MAX_MESSAGE_BYTES, secure: bool = False) -> grpc.aio.Channel:
    """A channel to `address` (`host:port`, `dns:///name:port` or `unix:path`); connects at the first call.

    A name that resolves to several addresses is used in turn. Encrypted as the process is configured
    (`libs.rpc.security`), or with `secure` in any case. The caller closes the channel.
    """
    rpc = security.configured()
    credentials = security.channel_credentials(rpc)
    if credentials is None and secure:
        credentials = grpc.ssl_channel_credentials()
    options = _options(max_message_bytes)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    if rpc.tls_server_name:
        options.append(("grpc.ssl_target_name_override", rpc.tls_server_name))
    return grpc.aio.secure_channel(address, credentials, options)


def _options(max_message_bytes: int) -> list[tuple[str, int | str]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Despite its name the time that one attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", 2_000),
        # A replica that is new in DNS is seen after a second instead of thirty.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.lb_policy_name", "round_robin"),
        # Back-off and connection belong to this channel alone.
        ("grpc.use_local_subchannel_pool", 1),
        # Between services nobody wants the proxy that the environment may name.
        ("grpc.enable_http_proxy", 0),
    ]
