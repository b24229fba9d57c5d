"""What every blob store does."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from libs.blob import BlobStore, Usage, cloud
from libs.workflow.errors import InvalidArgument, NotFound, ResourceExhausted


async def collect(store: BlobStore, uri: str, offset: int = 0) -> bytes:
    return b"".join([piece async for piece in store.stream(uri, offset)])


async def test_what_was_written_is_read(blob_store: BlobStore) -> None:
    uri = blob_store.join("a", "b", "c.pb")
    await blob_store.write(uri, b"\x00content")
    assert uri == f"{blob_store.root}/a/b/c.pb"
    assert await blob_store.read(uri) == b"\x00content"
    assert await blob_store.size(uri) == 8


@pytest.mark.parametrize("size", [0, 1, 6 << 20], ids=["empty", "small", "in parts"])
async def test_what_a_file_holds_is_stored(blob_store: BlobStore, tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(random.Random(1).randbytes(size))
    uri = blob_store.join("a", "file")
    await blob_store.write_file(uri, file)
    assert await blob_store.read(uri) == file.read_bytes()
    assert await blob_store.list(blob_store.join("a")) == [uri]


async def test_a_file_that_is_not_there_is_not_found_and_leaves_nothing(blob_store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await blob_store.write_file(blob_store.join("a"), tmp_path / "missing")
    assert await blob_store.list(blob_store.root) == []


async def test_an_empty_blob_exists(blob_store: BlobStore) -> None:
    uri = blob_store.join("empty")
    await blob_store.write(uri, b"")
    assert await blob_store.read(uri) == b""
    assert await blob_store.size(uri) == 0
    assert await collect(blob_store, uri) == b""


async def test_writing_again_replaces(blob_store: BlobStore) -> None:
    uri = blob_store.join("x")
    await blob_store.write(uri, b"first, and longer")
    await blob_store.write(uri, b"second")
    assert await blob_store.read(uri) == b"second"


async def test_concurrent_writers_of_one_blob_leave_one_of_them_whole(blob_store: BlobStore) -> None:
    uri = blob_store.join("x")
    contents = [bytes([number]) * 100_000 for number in range(8)]
    await asyncio.gather(*(blob_store.write(uri, content) for content in contents))
    assert await blob_store.read(uri) in contents
    assert await blob_store.list(blob_store.root) == [uri]


async def test_a_blob_that_does_not_exist_is_not_found(blob_store: BlobStore) -> None:
    uri = blob_store.join("a", "missing")
    assert await blob_store.size(uri) is None
    with pytest.raises(NotFound, match="missing"):
        await blob_store.read(uri)
    with pytest.raises(NotFound, match="missing"):
        await collect(blob_store, uri)


async def test_a_folder_is_not_a_blob(blob_store: BlobStore) -> None:
    await blob_store.write(blob_store.join("a", "b"), b"content")
    assert await blob_store.size(blob_store.join("a")) is None
    with pytest.raises(NotFound):
        await blob_store.read(blob_store.join("a"))


async def test_a_blob_over_the_limit_is_not_read(blob_store: BlobStore) -> None:
    uri = blob_store.join("x")
    await blob_store.write(uri, b"12345")
    assert await blob_store.read(uri, limit_bytes=5) == b"12345"
    with pytest.raises(ResourceExhausted, match="5 bytes"):
        await blob_store.read(uri, limit_bytes=4)


async def test_a_stream_begins_where_asked(blob_store: BlobStore) -> None:
    uri = blob_store.join("x")
    content = bytes(range(256)) * 4096
    await blob_store.write(uri, content)
    assert await collect(blob_store, uri) == content
    assert await collect(blob_store, uri, offset=1_000_000) == content[1_000_000:]
    assert await collect(blob_store, uri, offset=len(content)) == b""
    assert await collect(blob_store, uri, offset=len(content) + 5) == b""


async def test_a_list_has_everything_below_and_nothing_beside(blob_store: BlobStore) -> None:
    names = ["a/b/1", "a/b/c/2", "a/bc/3", "a/b.txt"]
    for name in names:
        await blob_store.write(blob_store.join(name), b"")
    assert await blob_store.list(blob_store.join("a/b")) == [blob_store.join("a/b/1"), blob_store.join("a/b/c/2")]
    assert await blob_store.list(blob_store.join("a/b/1")) == [blob_store.join("a/b/1")]
    assert await blob_store.list(blob_store.root) == [blob_store.join(name) for name in sorted(names)]
    assert await blob_store.list(blob_store.join("nowhere")) == []


async def test_deleting_a_prefix_spares_its_neighbours(blob_store: BlobStore) -> None:
    for name in ("a/b/1", "a/b/c/2", "a/bc/3"):
        await blob_store.write(blob_store.join(name), b"")
    await blob_store.delete_prefix(blob_store.join("a/b"))
    await blob_store.delete_prefix(blob_store.join("a/b"))
    assert await blob_store.list(blob_store.root) == [blob_store.join("a/bc/3")]
    await blob_store.delete_prefix(blob_store.join("a/bc/3"))
    assert await blob_store.list(blob_store.root) == []


async def test_what_is_measured_is_what_a_deletion_says_it_removed(blob_store: BlobStore) -> None:
    for name, size in (("a/b", 1), ("a/b.pb", 5), ("a/bc/1", 7), ("a/d/2/3", 11)):
        await blob_store.write(blob_store.join(name), b"x" * size)
    assert await blob_store.measure(blob_store.root) == Usage(4, 24)
    assert await blob_store.measure(blob_store.join("a/b")) == Usage(1, 1)
    assert await blob_store.measure(blob_store.join("a/d")) == Usage(1, 11)
    assert await blob_store.measure(blob_store.join("no/such")) == Usage()
    assert await blob_store.delete_prefix(blob_store.join("a/b")) == Usage(1, 1)
    assert await blob_store.delete_prefix(blob_store.join("a")) == Usage(3, 23)
    assert await blob_store.delete_prefix(blob_store.join("a")) == Usage()


async def test_more_blobs_than_a_store_lists_at_once_are_all_deleted(
    blob_store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "_PAGE", 10)
    for number in range(25):
        await blob_store.write(blob_store.join(f"many/{number}"), b"x")
    assert await blob_store.delete_prefix(blob_store.join("many")) == Usage(25, 25)
    assert await blob_store.list(blob_store.root) == []


async def test_the_whole_store_is_never_deleted_or_overwritten(blob_store: BlobStore) -> None:
    with pytest.raises(InvalidArgument, match="whole store"):
        await blob_store.delete_prefix(blob_store.root)
    with pytest.raises(InvalidArgument, match="whole store"):
        await blob_store.write(blob_store.root, b"")


async def test_names_that_lead_elsewhere_are_refused(blob_store: BlobStore) -> None:
    root = blob_store.root
    for uri in (
        f"{root}/../x",
        f"{root}/a/../../x",
        f"{root}//x",
        f"{root}/a/./x",
        f"{root}x",
        "/etc/passwd",
        "s3://x/y",
    ):
        assert not blob_store.contains(uri)
        with pytest.raises(InvalidArgument):
            await blob_store.read(uri)
        with pytest.raises(InvalidArgument):
            await blob_store.write(uri, b"")
    with pytest.raises(InvalidArgument):
        blob_store.join("a", "..", "b")
    assert blob_store.contains(f"{root}/a/b")


async def test_names_with_unusual_letters_are_names(blob_store: BlobStore) -> None:
    for name in ("with space", "ünïcode", "per%20cent", "plus+and#hash", "dn0-...-x", "a=b&c"):
        uri = blob_store.join("x", name)
        await blob_store.write(uri, name.encode())
        assert await blob_store.read(uri) == name.encode()
        assert await blob_store.list(uri) == [uri]
