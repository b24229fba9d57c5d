"""Inputs become files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from flyteidl.core import literals_pb2, tasks_pb2, types_pb2

from libs.workflow import errors
from libs.workflow.phases import ErrorKind
from services.executor.copilot import failure
from services.executor.copilot.failure import Failure
from services.executor.copilot.fetch import fetch
from services.executor.copilot.places import Places
from tests.support.flytetypes import INTEGER, value

Literal = literals_pb2.Literal
Form = tasks_pb2.DataLoadingConfig
MULTIPART = types_pb2.BlobType.MULTIPART


class Workshop:
    """Inputs in a blob store that is a directory, and where their files go."""

    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"
        self.files = root / "files"
        self.blobs.mkdir()

    def blob(self, name: str, content: bytes) -> str:
        path = self.blobs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    async def fetch(self, inputs: dict[str, Literal], form: int = Form.JSON, with_data: bool = True) -> None:
        uri = self.blob("inputs.pb", literals_pb2.LiteralMap(literals=inputs).SerializeToString())
        await fetch(Places(patience_seconds=0.1), uri, self.files, form, with_data=with_data)

    @property
    def shown(self) -> Any:
        return json.loads((self.files / "inputs.json").read_text())

    @property
    def placed(self) -> Any:
        return literals_pb2.LiteralMap.FromString((self.files / "inputs.pb").read_bytes()).literals


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def blob(uri: str, dimensionality: int = types_pb2.BlobType.SINGLE) -> Literal:
    metadata = literals_pb2.BlobMetadata(type=types_pb2.BlobType(dimensionality=dimensionality))
    return Literal(scalar=literals_pb2.Scalar(blob=literals_pb2.Blob(uri=uri, metadata=metadata)))


async def test_every_input_is_a_file_of_its_name_and_all_are_in_one(workshop: Workshop) -> None:
    nothing = Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
    maybe = Literal(scalar=literals_pb2.Scalar(union=literals_pb2.Union(value=value(7), type=INTEGER)))
    struct = Literal()
    struct.scalar.generic.update({"a": 1, "b": [True, None]})
    inputs = {"n": value(5), "s": value("hi"), "x": value(1.5), "nothing": nothing, "maybe": maybe, "struct": struct}
    await workshop.fetch(inputs)
    texts = {path.name: path.read_text() for path in workshop.files.iterdir() if "inputs." not in path.name}
    assert texts.pop("struct") == '{"a": 1, "b": [true, null]}'
    assert texts == {"n": "5", "s": "hi", "x": "1.5", "nothing": "null", "maybe": "7"}
    expected = {"n": 5, "s": "hi", "x": 1.5, "nothing": None, "maybe": 7, "struct": {"a": 1, "b": [True, None]}}
    assert workshop.shown == expected
    assert dict(workshop.placed) == inputs


async def test_lists_and_maps_are_directories(workshop: Workshop) -> None:
    rows = Literal(collection={"literals": [value(1), Literal(map={"literals": {"k": value("v")}})]})
    await workshop.fetch({"rows": rows, "none": Literal(collection={})})
    assert (workshop.files / "rows/0").read_text() == "1"
    assert (workshop.files / "rows/1/k").read_text() == "v"
    assert list((workshop.files / "none").iterdir()) == []
    assert workshop.shown == {"rows": [1, {"k": "v"}], "none": []}


async def test_blobs_are_brought_and_their_literals_say_where_they_are(workshop: Workshop) -> None:
    single = workshop.blob("raw/one", b"content")
    for name in ("a", "deep/b"):
        workshop.blob(f"raw/many/{name}", name.encode())
    many = str(workshop.blobs / "raw/many")
    schema = Literal(scalar=literals_pb2.Scalar(schema=literals_pb2.Schema(uri=f"file://{many}")))
    listed = Literal(collection={"literals": [blob(single), blob(single)]})
    await workshop.fetch({"one": blob(single), "many": blob(many, MULTIPART), "schema": schema, "listed": listed})
    files = workshop.files
    assert (files / "one").read_bytes() == (files / "listed/1").read_bytes() == b"content"
    for name in ("many", "schema"):
        assert (files / name / "a").read_bytes() == b"a"
        assert (files / name / "deep/b").read_bytes() == b"deep/b"
    assert workshop.shown["one"] == workshop.placed["one"].scalar.blob.uri == str(files / "one")
    assert workshop.shown["listed"] == [str(files / "listed/0"), str(files / "listed/1")]


async def test_a_data_set_that_is_one_file_is_that_file(workshop: Workshop) -> None:
    dataset = Literal()
    dataset.scalar.structured_dataset.uri = workshop.blob("raw/table", b"PAR1")
    await workshop.fetch({"table": dataset})
    assert (workshop.files / "table").read_bytes() == b"PAR1"


async def test_without_data_blobs_stay_and_their_literals_say_where(workshop: Workshop) -> None:
    uri = workshop.blob("raw/one", b"content")
    await workshop.fetch({"one": blob(uri), "n": value(1)}, with_data=False)
    assert not (workshop.files / "one").exists()
    assert workshop.shown == {"one": uri, "n": 1}
    assert (workshop.files / "n").read_text() == "1"


async def test_a_value_that_lies_elsewhere_is_fetched(workshop: Workshop) -> None:
    uri = workshop.blob("offloaded", value("large").SerializeToString())
    await workshop.fetch({"s": Literal(offloaded_metadata={"uri": uri})})
    assert (workshop.files / "s").read_text() == "large"
    assert workshop.placed["s"] == value("large")


@pytest.mark.parametrize("form", ["JSON", "YAML", "PROTO"])
async def test_all_inputs_together_come_in_the_form_that_is_asked_for(workshop: Workshop, form: str) -> None:
    await workshop.fetch({"n": value(5), "s": value("ü: 1")}, Form.LiteralMapFormat.Value(form))
    names = {path.name for path in workshop.files.iterdir()} - {"n", "s"}
    assert names == {"inputs.pb"} | {"JSON": {"inputs.json"}, "YAML": {"inputs.yaml"}}.get(form, set())
    if form == "YAML":
        assert yaml.safe_load((workshop.files / "inputs.yaml").read_text()) == {"n": 5, "s": "ü: 1"}


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "", "x" * 300])
async def test_no_key_leads_to_another_place(workshop: Workshop, name: str) -> None:
    with pytest.raises(Failure, match="cannot be the name of a file") as caught:
        await workshop.fetch({"m": Literal(map={"literals": {name: value(1)}})})
    assert not caught.value.recoverable


async def test_a_blob_that_is_not_there_is_not_found(workshop: Workshop) -> None:
    missing = str(workshop.blobs / "missing")
    for literal in (blob(missing), blob(missing, MULTIPART)):
        with pytest.raises(errors.NotFound, match="missing"):
            await workshop.fetch({"one": literal})


async def test_an_address_that_is_none_is_refused(workshop: Workshop) -> None:
    with pytest.raises(errors.InvalidArgument, match="'nowhere' is neither an absolute path nor an address"):
        await workshop.fetch({"one": blob("nowhere")})


async def test_without_inputs_pb_the_engine_is_to_blame(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        await fetch(Places(), str(tmp_path / "inputs.pb"), tmp_path / "files", Form.JSON)
    assert (caught.value.kind, caught.value.recoverable) == (ErrorKind.SYSTEM, True)


@pytest.mark.parametrize(
    ("error", "code", "kind", "recoverable"),
    [
        (errors.NotFound("x"), failure.DOWNLOAD, ErrorKind.USER, False),
        (errors.Unavailable("x"), failure.DOWNLOAD, ErrorKind.SYSTEM, True),
        (errors.ResourceExhausted("the store is full"), failure.UPLOAD, ErrorKind.SYSTEM, True),
        (OSError(28, "No space left"), failure.DOWNLOAD, ErrorKind.SYSTEM, True),
        (TimeoutError(), failure.UPLOAD, ErrorKind.SYSTEM, True),
    ],
)
def test_whose_fault_it_is_depends_on_what_was_under_way(
    error: Exception, code: str, kind: ErrorKind, recoverable: bool
) -> None:
    found = failure.of(error, code)
    assert (found.kind, found.recoverable) == (kind, recoverable)
