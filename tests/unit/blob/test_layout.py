"""Where things lie, as Flyte's clients expect."""

from __future__ import annotations

import itertools

import pytest

from libs.blob import layout
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import ExecutionId

ID = ExecutionId("flytesnacks", "development", "abc")


def test_every_attempt_has_its_own_place() -> None:
    assert layout.execution_prefix("/b", ID) == "/b/metadata/propeller/flytesnacks-development-abc"
    assert layout.node_inputs("/b", ID, "n0") == "/b/metadata/propeller/flytesnacks-development-abc/n0/data/inputs.pb"
    assert layout.attempt_prefix("/b", ID, "n0", 2) == "/b/metadata/propeller/flytesnacks-development-abc/n0/data/2"
    assert layout.log_uri("/b", ID, "n0", 2) == "/b/logs/flytesnacks-development-abc/n0/2.log"


def test_no_two_executions_share_a_place_however_they_are_hyphenated() -> None:
    parts = ["a", "b", "a-b", "b-b", "a-b-a", "b-a"]
    ids = [ExecutionId(*id) for id in itertools.product(parts, repeat=3)]
    assert len({layout.execution_prefix("/b", id) for id in ids}) == len(ids)


def test_whose_places_are_named_in_any_content_is_found() -> None:
    ids = [ExecutionId("p", "d", "a-b"), ExecutionId("p-q", "d", "c"), ExecutionId("p", "d", "e"), ID]
    content = b"\x00\x12" + layout.raw_prefix("s3://b/x", ids[0], "n0", 0).encode() + b"/data.parquet\x1a"
    content += b'{"uri":"' + layout.attempt_prefix("s3://b/x", ids[1], "n0", 0).encode() + b'"}'
    content += b"see " + layout.execution_prefixes("s3://b/x", ids[2])[1].encode() + b"."
    log = layout.log_uri("s3://b/x", ids[3], "n0", 0).encode()
    assert layout.references("s3://b/x", content, log) == set(ids)
    assert layout.references("s3://b/y", content, log) == set()
    assert layout.references("s3://b/x", b"s3://b/x/raw/nobody s3://b/x/uploads/p/d/f/x") == set()


def test_an_execution_is_found_by_its_place_however_it_is_hyphenated() -> None:
    parts = ["a", "b", "a-b", "b-b", "a-b-a", "b-a"]
    for id in map(ExecutionId._make, itertools.product(parts, repeat=3)):
        assert layout.references("/b", layout.execution_prefix("/b", id).encode()) == {id}


def test_raw_data_may_go_to_a_place_of_the_submitters() -> None:
    assert layout.raw_prefix("s3://mine/", ID, "n0", 1) == "s3://mine/raw/flytesnacks-development-abc/n0/1"


def test_uploads_lie_by_project_domain_and_folder() -> None:
    assert layout.upload_uri("s3://b", "p", "d", "f", "x.tgz") == "s3://b/uploads/p/d/f/x.tgz"


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_is_not_one_segment_is_refused_by_its_field(bad: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^filename: "):
        layout.upload_uri("/b", "p", "d", "f", bad)
    with pytest.raises(InvalidArgument, match=r"^node: "):
        layout.attempt_prefix("/b", ID, bad, 0)


def test_places_of_an_execution_are_those_of_the_functions() -> None:
    id = ExecutionId("p-1", "d", "x")
    places = layout.Places("/root", id, "s3://mine/")
    assert places.attempt_prefix("n0", 2) == layout.attempt_prefix("/root", id, "n0", 2)
    assert places.raw_prefix("n0", 2) == layout.raw_prefix("s3://mine/", id, "n0", 2)
    assert places.log_uri("n0", 2) == layout.log_uri("/root", id, "n0", 2)
    with pytest.raises(InvalidArgument):
        places.raw_prefix("../n0", 2)
