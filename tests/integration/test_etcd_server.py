"""The etcd of one machine: found or fetched, started, stopped, started again with its data."""

from __future__ import annotations

import stat
from pathlib import Path

import etcd3
import pytest

from libs.workflow import errors
from services.standalone import etcd, etcd_fetch


def _fake(path: Path, version: str) -> Path:
    """A program that says it is etcd."""
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho 'etcd Version: {version}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def nothing_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    monkeypatch.setattr(etcd.shutil, "which", lambda name: None)


def test_the_etcd_found_is_new_enough(etcd_binary: etcd.Etcd) -> None:
    assert etcd_binary.version >= etcd.OLDEST


def test_a_recent_etcd_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = _fake(tmp_path / "bin/etcd", "3.5.30")
    monkeypatch.setenv("PATH", f"{binary.parent}:/bin:/usr/bin")
    assert etcd.find_etcd(tmp_path / "cache").path == binary


def test_an_old_etcd_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _fake(tmp_path / "bin/etcd", "3.4.23")
    cached = _fake(tmp_path / "cache/etcd/debian-sid/etcd", "3.5.30")
    monkeypatch.setenv("PATH", f"{old.parent}:/bin:/usr/bin")
    assert etcd.find_etcd(tmp_path / "cache").path == cached


@pytest.mark.usefixtures("nothing_on_path")
def test_the_newest_cached_copy_is_taken(tmp_path: Path) -> None:
    _fake(tmp_path / "etcd/a/etcd", "3.5.9")
    newest = _fake(tmp_path / "etcd/b/etcd", "3.5.16")
    assert etcd.find_etcd(tmp_path).path == newest


@pytest.mark.usefixtures("nothing_on_path")
def test_an_old_copy_is_better_than_none_and_comes_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _fake(tmp_path / "etcd/wheel/etcd", "3.5.1")
    assert etcd.find_etcd(tmp_path).version == (3, 5, 1)
    assert "known faults" in caplog.text


@pytest.mark.usefixtures("nothing_on_path")
def test_sources_are_tried_in_order_and_all_failures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(cache: Path) -> Path:
        return _fake(cache / "broken/etcd", "of no use")

    def absent(cache: Path) -> Path:
        raise etcd_fetch.FetchError("no network")

    monkeypatch.setattr(
        etcd_fetch, "SOURCES", (etcd_fetch.Source("first", absent), etcd_fetch.Source("second", broken))
    )
    with pytest.raises(errors.Unavailable) as caught:
        etcd.find_etcd(tmp_path)
    assert caught.value.message == (
        "no etcd: put etcd 3.5.13 or newer on PATH. Tried PATH; first: no network; "
        "second: its etcd does not run on this machine"
    )
    assert not (tmp_path / "etcd/broken").exists()


def test_a_server_keeps_data_and_address_over_a_restart(etcd_binary: etcd.Etcd, tmp_path: Path) -> None:
    server = etcd.EtcdServer(etcd_binary, tmp_path / "etcd")
    server.start()
    try:
        endpoint = server.endpoint
        host, _, port = endpoint.partition(":")
        with etcd3.client(host=host, port=int(port), timeout=5) as client:
            client.put("leader", "me")
        server.stop()
        server.start()
        assert server.endpoint == endpoint
        with etcd3.client(host=host, port=int(port), timeout=5) as client:
            assert client.get("leader")[0] == b"me"
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_why(etcd_binary: etcd.Etcd, tmp_path: Path) -> None:
    first = etcd.EtcdServer(etcd_binary, tmp_path / "first")
    first.start()
    try:
        second = etcd.EtcdServer(etcd_binary, tmp_path / "second", port=int(first.endpoint.partition(":")[2]))
        with pytest.raises(errors.Unavailable, match="address already in use"):
            second.start()
    finally:
        first.stop()
