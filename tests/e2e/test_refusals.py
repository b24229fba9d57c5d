"""Bad requests get the right status, a message that names what is wrong, and leave nothing behind."""

from __future__ import annotations

import base64
import hashlib
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import common_pb2 as common
from flyteidl.core import identifier_pb2 as identifier
from flyteidl.service import dataproxy_pb2 as dataproxy
from google.protobuf import duration_pb2

from tests.support import flyte, refusal_cases
from tests.support.refusal_cases import REFUSALS, Refusal
from tests.support.smalltasks import Registrar

PROJECT = "refusals"
CONTENT = b"print('hello')\n"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def refusing(stubs: flyte.Stubs) -> Registrar:
    """A project of its own, so that what it stores can be counted while other tests run."""
    registrar = Registrar(stubs, project=PROJECT)
    refusal_cases.prepare(registrar)
    return registrar


def _stored(registrar: Registrar) -> dict[str, Any]:
    """All that the project has: names of entities, and executions with their phase-independent part."""
    id_ = common.NamedEntityIdentifier(project=registrar.project, domain=registrar.domain)
    executions = registrar.stubs.admin.ListExecutions(common.ResourceListRequest(id=id_, limit=1000), timeout=10)
    kinds = (identifier.TASK, identifier.WORKFLOW, identifier.LAUNCH_PLAN)
    return {
        "executions": sorted(each.id.name for each in executions.executions),
        **{identifier.ResourceType.Name(kind): registrar.names(kind) for kind in kinds},
    }


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_a_bad_request_is_refused_by_name_and_stores_nothing(refusing: Registrar, refusal: Refusal) -> None:
    before = _stored(refusing)
    with pytest.raises(grpc.RpcError) as refused:
        refusal.send(refusing)
    assert refused.value.code() == refusal.status, refused.value.details()
    for name in refusal.names:
        assert name in refused.value.details()
    assert _stored(refusing) == before


def test_every_message_of_a_refusal_fits_what_flyte_clients_accept(refusing: Registrar) -> None:
    long = "n" * 50_000
    with pytest.raises(grpc.RpcError) as refused:
        refusing.launch(refusing.id(identifier.LAUNCH_PLAN, refusal_cases.PLAN), long)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(refused.value.details()) < 30_000


def _location(registrar: Registrar, filename: str, *, seconds: int = 60) -> dataproxy.CreateUploadLocationResponse:
    request = dataproxy.CreateUploadLocationRequest(
        project=registrar.project,
        domain=registrar.domain,
        filename=filename,
        content_md5=hashlib.md5(CONTENT).digest(),
        expires_in=duration_pb2.Duration(seconds=seconds),
    )
    reply: dataproxy.CreateUploadLocationResponse = registrar.stubs.data.CreateUploadLocation(request, timeout=10)
    return reply


def _put(url: str, content: bytes, *, announced: bytes | None = None) -> int:
    """Uploads as flytekit does; the HTTP status."""
    md5 = base64.b64encode(hashlib.md5(content if announced is None else announced).digest()).decode()
    request = urllib.request.Request(url, data=content, method="PUT", headers={"Content-MD5": md5})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_signed_upload_is_stored_once_its_content_is_right(refusing: Registrar) -> None:
    location = _location(refusing, "good.txt")
    assert _put(location.signed_url, CONTENT) == 200
    assert Path(location.native_url).read_bytes() == CONTENT


def test_an_expired_address_is_refused(refusing: Registrar) -> None:
    location = _location(refusing, "late.txt", seconds=1)
    time.sleep(1.1)
    assert _put(location.signed_url, CONTENT) == 403
    assert not Path(location.native_url).exists()


@pytest.mark.parametrize("change", ["path", "expiry", "signature"])
def test_a_tampered_address_is_refused(refusing: Registrar, change: str) -> None:
    location = _location(refusing, "tampered.txt")
    url = location.signed_url
    changed = {
        "path": url.replace("tampered.txt", "elsewhere.txt"),
        "expiry": url.replace("expires=", "expires=9"),
        "signature": url.replace("signature=", "signature=A"),
    }[change]
    assert changed != url
    assert _put(changed, CONTENT) == 403
    assert not Path(location.native_url).exists()
    assert not Path(location.native_url).with_name("elsewhere.txt").exists()


def test_content_with_another_md5_than_announced_is_refused(refusing: Registrar) -> None:
    location = _location(refusing, "other.txt")
    assert _put(location.signed_url, b"something else") == 400
    assert _put(location.signed_url, b"something else", announced=CONTENT) == 400
    assert _put(location.signed_url, CONTENT, announced=b"something else") == 400
    assert not Path(location.native_url).exists()
