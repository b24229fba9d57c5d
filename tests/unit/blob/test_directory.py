"""What only a directory has: links, a full disk, unfinished files."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from libs import blob
from libs.workflow.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable


async def test_a_link_that_leads_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    # Task code writes into this directory, and what is read here may be handed to anybody.
    (tmp_path / "secret").write_text("secret")
    store = blob.open(str(tmp_path / "blobs"))
    await store.write(store.join("a", "x"), b"")
    (tmp_path / "blobs" / "a" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "blobs" / "out").symlink_to(tmp_path)
    for uri in (store.join("a/link"), store.join("out/secret")):
        with pytest.raises(NotFound):
            await store.read(uri)
        assert await store.size(uri) is None
    with pytest.raises(NotFound):
        await store.write(store.join("out/new"), b"")
    await store.delete_prefix(store.join("out"))
    assert (tmp_path / "secret").exists()


async def test_a_link_that_a_task_has_left_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    store = blob.open(str(tmp_path / "blobs"))
    await store.write(store.join("raw", "other", "x"), b"content")
    (tmp_path / "blobs" / "raw" / "mine").symlink_to(tmp_path / "blobs" / "raw" / "other")
    await store.write(store.join("raw", "third", "y"), b"")
    (tmp_path / "blobs" / "raw" / "third" / "link").symlink_to(tmp_path / "blobs" / "raw" / "other")
    await store.delete_prefix(store.join("raw", "mine"))
    await store.delete_prefix(store.join("raw", "third"))
    assert await store.list(store.root) == [store.join("raw", "other", "x")]
    assert not (tmp_path / "blobs" / "raw" / "mine").is_symlink()


async def test_the_directory_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = blob.open(str(tmp_path / "link"))
    await store.write(store.join("x"), b"content")
    assert await store.read(store.join("x")) == b"content"
    assert await store.list(store.root) == [f"{tmp_path}/link/x"]


async def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = blob.open(str(tmp_path))

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        await store.write(store.join("x"), b"content")
    assert list(tmp_path.iterdir()) == []


async def test_other_trouble_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = blob.open(str(tmp_path))

    def broken(*_arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(Unavailable, match="Input/output error"):
        await store.write(store.join("x"), b"content")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_pipe_in_the_place_of_a_blob_is_no_blob(tmp_path: Path, stream: bool) -> None:
    store = blob.open(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    opened = os.open(tmp_path / "pipe", os.O_RDWR)  # a reader that waits would read this
    os.write(opened, b"x")
    try:
        async with asyncio.timeout(5):
            with pytest.raises(NotFound):
                if stream:
                    await anext(store.stream(store.join("pipe")))
                else:
                    await store.read(store.join("pipe"))
    finally:
        os.close(opened)


async def test_what_can_never_exist_is_not_waited_for(tmp_path: Path) -> None:
    store = blob.open(str(tmp_path))
    (tmp_path / "round").symlink_to("round")
    for uri in (store.join("x" * 300), store.join(*["x" * 200] * 30), store.join("round", "x")):
        with pytest.raises(NotFound):
            await store.read(uri)
        assert await store.size(uri) is None


async def test_a_stream_that_is_left_early_closes_its_file(tmp_path: Path) -> None:
    store = blob.open(str(tmp_path))
    await store.write(store.join("x"), b"x" * 1_000_000)
    stream = store.stream(store.join("x"))
    assert len(await anext(stream)) > 0
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    assert not [link for link in os.listdir("/proc/self/fd") if _target(link) == str(tmp_path / "x")]


@pytest.mark.parametrize("url", ["relative/path", "file:///tmp/x", "http://host/x", ""])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="absolute directory"):
        blob.open(url)


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""
