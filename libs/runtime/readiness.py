"""Tells whoever runs this process that it is ready, where they want to know.

The protocol is sd_notify(3), systemd's for services of `Type=notify`: NOTIFY_SOCKET names a datagram socket, and what
is sent there is `READY=1`. Kubernetes asks instead (`libs.rpc.server`), and sets no such variable.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

logger = logging.getLogger(__name__)

VARIABLE: Final = "NOTIFY_SOCKET"
READY: Final = b"READY=1"


def tell() -> None:
    """Once: whatever this process starts is not told of the socket."""
    address = os.environ.pop(VARIABLE, "")
    if not address:
        return
    # An address that begins with an at sign has no file: the kernel spells it with a zero byte.
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.setblocking(False)
            door.sendto(READY, name)
    except OSError as error:
        logger.warning("%s=%s cannot be told that this process is ready: %s", VARIABLE, address, error)
