"""A real etcd for tests: one per session, and the binary for those who must stop and start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.standalone.etcd import Etcd, EtcdServer, find_etcd


@pytest.fixture(scope="session")
def etcd_binary() -> Etcd:
    """The etcd that the standalone system would run."""
    return find_etcd()


@pytest.fixture(scope="session")
def etcd(etcd_binary: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A running etcd that all tests share: use keys of your own, `etcd.endpoint` is its address."""
    server = EtcdServer(etcd_binary, tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()
