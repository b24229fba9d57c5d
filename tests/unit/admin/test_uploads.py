"""Where an upload goes, for each shape of request that flytekit sends."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from flyteidl.service import dataproxy_pb2
from google.protobuf import duration_pb2

from libs import blob
from libs.blob import BlobStore
from libs.workflow.errors import AirscrewError, AlreadyExists, InvalidArgument
from services.admin.signing import Signer, Verb
from services.admin.uploads import Location, Uploads, check_content, expiry_seconds

CONTENT = b"content"
MD5 = hashlib.md5(CONTENT).digest()
NOW_US = 1_000_000_000
KEY = b"a key of at least sixteen bytes"


class Clock:
    def now_us(self) -> int:
        return NOW_US

    def monotonic(self) -> float:
        return 0.0


class Projects:
    """Remembers what was used."""

    def __init__(self) -> None:
        self.used: list[tuple[str, str]] = []

    async def use(self, project: str, domain: str, field: str = "") -> None:
        self.used.append((project, domain))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return blob.open(str(tmp_path))


@pytest.fixture
def signer() -> Signer:
    return Signer(KEY, "http://host")


async def locate(store: BlobStore, signer: Signer, **fields: Any) -> Location:
    uploads = Uploads(store, signer, Projects(), Clock(), lambda length: bytes(length), address_seconds=3600)  # type: ignore[arg-type]
    request = dataproxy_pb2.CreateUploadLocationRequest(**{"project": "p", "domain": "d", **fields})
    return await uploads.locate(request)


async def test_code_lies_under_its_md5(store: BlobStore, signer: Signer) -> None:
    location = await locate(store, signer, filename="fast.tar.gz", content_md5=MD5, add_content_md5_metadata=True)
    folder = base64.b32encode(MD5).decode().rstrip("=")
    assert location.native_url == f"{store.root}/uploads/p/d/{folder}/fast.tar.gz"
    assert location.expires_at_us == NOW_US + 3600 * 1_000_000
    claims, _, path = location.signed_url.partition("/data/")[2].partition("/")
    assert signer.check(Verb.WRITE, claims, path, NOW_US).md5 == MD5


async def test_files_of_a_directory_lie_under_one_folder(store: BlobStore, signer: Signer) -> None:
    locations = [
        await locate(store, signer, filename=name, filename_root="ABCD====", content_md5=MD5) for name in ("a", "b")
    ]
    assert {str(Path(location.native_url).parent) for location in locations} == {f"{store.root}/uploads/p/d/ABCD===="}


async def test_a_data_frame_gets_a_name(store: BlobStore, signer: Signer) -> None:
    location = await locate(store, signer, filename_root="00000")
    assert Path(location.native_url).name
    assert Path(location.native_url).parent.name == "00000"


async def test_an_address_expires_when_asked(store: BlobStore, signer: Signer) -> None:
    location = await locate(store, signer, filename="f", content_md5=MD5, expires_in=duration_pb2.Duration(seconds=5))
    assert location.expires_at_us == NOW_US + 5_000_000


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"filename": "f"}, InvalidArgument, "content_md5: missing"),
        ({"filename": "f", "content_md5": b"short"}, InvalidArgument, "content_md5: has 5 bytes"),
        ({"filename": "../f", "content_md5": MD5}, InvalidArgument, "filename: "),
        ({"filename": "..", "content_md5": MD5}, InvalidArgument, "filename: "),
        ({"filename": "a\nb", "content_md5": MD5}, InvalidArgument, "filename: "),
        ({"filename": "é" * 200, "content_md5": MD5}, InvalidArgument, "filename: has 400 bytes"),
        ({"filename_root": "a/b"}, InvalidArgument, "filename_root: "),
        ({"filename_root": "f", "expires_in": duration_pb2.Duration(seconds=-1)}, InvalidArgument, "expires_in: "),
        ({"filename_root": "f", "expires_in": duration_pb2.Duration(seconds=3601)}, InvalidArgument, "expires_in: "),
    ],
)
async def test_a_request_that_cannot_be_is_refused_by_name(
    store: BlobStore, signer: Signer, fields: dict[str, Any], error: type[AirscrewError], named: str
) -> None:
    with pytest.raises(error) as caught:
        await locate(store, signer, **fields)
    assert caught.value.message.startswith(named)


async def test_a_file_that_exists_is_only_written_again_with_the_same_content(store: BlobStore, signer: Signer) -> None:
    asked = {"filename": "f", "filename_root": "folder"}
    location = await locate(store, signer, **asked, content_md5=MD5)
    await store.write(location.native_url, CONTENT)
    assert (await locate(store, signer, **asked, content_md5=MD5)).native_url == location.native_url
    with pytest.raises(AlreadyExists, match="other content"):
        await locate(store, signer, **asked, content_md5=bytes(16))
    with pytest.raises(AlreadyExists, match="can't be compared"):
        await locate(store, signer, **asked)


def test_content_is_compared_with_what_was_announced_and_with_its_header() -> None:
    header = base64.b64encode(MD5).decode()
    check_content(CONTENT, MD5, header)
    check_content(CONTENT, b"", None)
    for announced, said in ((bytes(16), None), (b"", base64.b64encode(bytes(16)).decode()), (MD5, "*")):
        with pytest.raises(InvalidArgument):
            check_content(CONTENT, announced, said)


@pytest.mark.parametrize(
    ("seconds", "nanos", "expires"), [(0, 0, 3600), (0, 1, 1), (5, 0, 5), (5, 1, 6), (3600, 0, 3600)]
)
def test_an_address_works_for_as_long_as_asked_and_for_the_longest_time_if_nothing_was(
    seconds: int, nanos: int, expires: int
) -> None:
    assert expiry_seconds(duration_pb2.Duration(seconds=seconds, nanos=nanos), 3600) == expires


@pytest.mark.parametrize(("seconds", "nanos"), [(-1, 0), (0, -1), (3600, 1), (3601, 0)])
def test_an_address_for_another_time_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidArgument, match="expires_in"):
        expiry_seconds(duration_pb2.Duration(seconds=seconds, nanos=nanos), 3600)
