"""Who has a socket, by the kernel's word: asked for one connection, so that it costs the same however many there are.

Reading the table of all connections instead takes a few milliseconds on a busy machine. That is too much for a proxy:
when many connect again after a fault, more come while one is looked up than it can serve, and nothing gets through.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

Address = tuple[str, int]

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_NO_COOKIE: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")
_INODE: Final = struct.Struct("=I")
_INODE_AT: Final = _HEADER.size + 68
"""The last field of `struct inet_diag_msg`."""


def owner(local: Address, remote: Address, pids: Mapping[str, int]) -> str:
    """Which of the processes has the socket that leads from `local` to `remote`; empty for one of nobody's."""
    inode = _asked(local, remote) or _looked_up(local[1])
    wanted = f"socket:[{inode}]"
    for name, pid in pids.items():
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path) == wanted:
                        return name
    return ""


def _asked(local: Address, remote: Address) -> int | None:
    """The socket's inode as `inet_diag` tells it; None where the kernel does not answer that, or has no such socket."""
    ends = struct.pack("!HH", local[1], remote[1]) + _ip(local) + _ip(remote)
    body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    body += ends + struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
            asking.settimeout(1)
            asking.sendto(header + body, (0, 0))
            answer = asking.recv(4096)
    except OSError:
        return None
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    return int(_INODE.unpack_from(answer, _INODE_AT)[0])


def _ip(address: Address) -> bytes:
    return socket.inet_aton(address[0]) + bytes(12)


def _looked_up(port: int) -> int | None:
    """The same from the table of all connections, for kernels without `inet_diag`."""
    suffix = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(suffix) and fields[9] != "0":
                    return int(fields[9])
    return None
