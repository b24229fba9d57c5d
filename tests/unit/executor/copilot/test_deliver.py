"""Files become outputs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from flyteidl.core import interface_pb2, literals_pb2, types_pb2

from libs.workflow.phases import ErrorKind
from services.executor.copilot import failure
from services.executor.copilot.deliver import deliver
from services.executor.copilot.failure import Failure
from services.executor.copilot.places import Places
from tests.support.flytetypes import INTEGER, STRING

Type = types_pb2.LiteralType
FILE = Type(blob={"format": "csv", "dimensionality": types_pb2.BlobType.SINGLE})
FOLDER = Type(blob={"dimensionality": types_pb2.BlobType.MULTIPART})
DATASET = Type(structured_dataset_type={"format": "parquet"})
NONE = Type(simple=types_pb2.NONE)
MAYBE = Type(union_type={"variants": [INTEGER, NONE]})
EITHER = Type(union_type={"variants": [INTEGER, STRING]})
COLOUR = Type(enum_type={"values": ["red", "blue"]})
SCHEMA = Type(schema={})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


async def delivered(files: Path, wanted: Type) -> literals_pb2.Literal:
    """What output `o` becomes; what is uploaded lies below `raw`, beside the files."""
    outputs = interface_pb2.VariableMap(variables={"o": interface_pb2.Variable(type=wanted)})
    found = await deliver(Places(), outputs, files, f"{files.parent}/raw/")
    return found.literals["o"]


async def refused(files: Path, wanted: Type) -> Failure:
    with pytest.raises(Failure) as caught:
        await delivered(files, wanted)
    assert not (files.parent / "raw").exists(), "nothing is uploaded for outputs that are incomplete"
    return caught.value


async def test_a_value_is_the_text_of_its_file_with_or_without_an_extension(files: Path) -> None:
    (files / "o.txt").write_text("42\n")
    assert (await delivered(files, INTEGER)).scalar.primitive.integer == 42
    (files / "o").write_text("43\n")
    assert (await delivered(files, INTEGER)).scalar.primitive.integer == 43


async def test_an_enumeration_is_one_of_its_values(files: Path) -> None:
    (files / "o").write_text("blue\n")
    assert (await delivered(files, COLOUR)).scalar.primitive.string_value == "blue"
    (files / "o").write_text("green")
    assert "'green' is none of red, blue" in str(await refused(files, COLOUR))


async def test_a_file_is_uploaded_and_keeps_the_type_of_the_interface(files: Path) -> None:
    (files / "o.csv").write_bytes(b"a,b")
    literal = await delivered(files, FILE)
    assert Path(literal.scalar.blob.uri) == files.parent / "raw" / "o"
    assert Path(literal.scalar.blob.uri).read_bytes() == b"a,b"
    assert literal.scalar.blob.metadata.type == FILE.blob


async def test_a_directory_is_uploaded_with_all_that_is_below_it(files: Path) -> None:
    for path in ("o/a", "o/deep/er/b"):
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_text(path)
    uri = Path((await delivered(files, FOLDER)).scalar.blob.uri)
    assert sorted(str(each.relative_to(uri)) for each in uri.rglob("*") if each.is_file()) == ["a", "deep/er/b"]


@pytest.mark.parametrize(
    ("wanted", "made"), [(FILE, "a directory, where a file"), (FOLDER, "a file, where a directory")]
)
async def test_a_file_is_no_directory(files: Path, wanted: Type, made: str) -> None:
    (files / "o").mkdir() if "a directory, " in made else (files / "o").touch()
    assert f"output 'o': o is {made} is expected" in str(await refused(files, wanted))


async def test_data_sets_and_schemas_are_uploaded(files: Path) -> None:
    (files / "o").mkdir()
    (files / "o" / "0.parquet").write_bytes(b"PAR1")
    dataset = (await delivered(files, DATASET)).scalar.structured_dataset
    assert dataset.metadata.structured_dataset_type == DATASET.structured_dataset_type
    assert Path(dataset.uri, "0.parquet").read_bytes() == b"PAR1"
    assert Path((await delivered(files, SCHEMA)).scalar.schema.uri, "0.parquet").exists()


async def test_lists_are_directories_of_numbers_and_maps_of_names(files: Path) -> None:
    folder = files / "o"
    folder.mkdir()
    for number in range(11):
        (folder / f"{number}.txt").write_text(str(number * number))
    found = (await delivered(files, Type(collection_type=INTEGER))).collection.literals
    assert [each.scalar.primitive.integer for each in found] == [n * n for n in range(11)], "2 comes before 10"
    (folder / "3.txt").unlink()
    assert "the elements of a list are files 0, 1, 2 …" in str(await refused(files, Type(collection_type=INTEGER)))
    named = (await delivered(files, Type(map_value_type=FILE))).map.literals
    assert set(named) == {f"{number}.txt" for number in range(11) if number != 3}
    assert Path(named["2.txt"].scalar.blob.uri).read_text() == "4"


async def test_a_union_is_the_first_of_its_variants_that_fits(files: Path) -> None:
    assert (await delivered(files, MAYBE)).scalar.union.value.scalar.HasField("none_type")
    (files / "o").write_text("5")
    found = (await delivered(files, MAYBE)).scalar.union
    assert (found.value.scalar.primitive.integer, found.type) == (5, INTEGER)
    (files / "o").write_text("five")
    assert (await delivered(files, EITHER)).scalar.union.type == STRING
    assert "is no whole number" in str(await refused(files, MAYBE))


async def test_what_the_task_says_of_its_failure_is_its_failure(files: Path) -> None:
    (files / "o").write_text("42")
    (files / "_ERROR").write_text("no such customer\n")
    failed = await refused(files, INTEGER)
    assert (str(failed), failed.code, failed.kind, failed.recoverable) == (
        "no such customer",
        failure.TASK,
        ErrorKind.USER,
        True,
    )


async def test_what_is_missing_is_named(files: Path) -> None:
    failed = await refused(files, INTEGER)
    assert str(failed) == f"output 'o': there is no file {files / 'o'}"
    assert (failed.kind, failed.recoverable) == (ErrorKind.USER, True)
    for name in ("o.a", "o.b"):
        (files / name).touch()
    assert str(await refused(files, INTEGER)) == "output 'o': there are several files: o.a, o.b"


async def test_a_value_that_is_none_is_named_with_the_reason(files: Path) -> None:
    (files / "o").write_text("forty")
    assert str(await refused(files, INTEGER)) == "output 'o': its file is no whole number: 'forty'"
    (files / "o").write_bytes(bytes(2 << 20))
    assert "more than the 1048576" in str(await refused(files, STRING))


@pytest.mark.parametrize("wanted", [STRING, FILE, DATASET])
async def test_links_do_not_lead_to_what_is_not_the_tasks_own(files: Path, wanted: Type) -> None:
    secret = files.parent / "secret"
    secret.write_text("token")
    (files / "o").symlink_to(secret)
    failed = await refused(files, wanted)
    assert "leads out of the directory of outputs" in str(failed)
    assert not failed.recoverable


async def test_neither_do_links_within_a_directory_or_to_one(files: Path) -> None:
    outside = files.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("token")
    (files / "o").mkdir()
    (files / "o" / "link").symlink_to(outside / "secret")
    assert "leads out" in str(await refused(files, FOLDER))
    (files / "o" / "link").unlink()
    (files / "o" / "link").symlink_to(outside)
    assert "leads out" in str(await refused(files, FOLDER))


async def test_a_link_to_a_file_of_the_tasks_own_is_the_file(files: Path) -> None:
    (files / "real").write_text("42")
    (files / "o").symlink_to(files / "real")
    assert (await delivered(files, INTEGER)).scalar.primitive.integer == 42


async def test_a_pipe_is_no_file(files: Path) -> None:
    os.mkfifo(files / "o")
    assert "o is no file" in str(await refused(files, STRING))


@pytest.mark.parametrize("wanted", [STRING, FOLDER])
async def test_what_only_its_owner_may_read_is_named_with_what_to_do(
    files: Path, wanted: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test may run as root, who may read everything."""
    (files / "o").mkdir() if wanted is FOLDER else (files / "o").touch()

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir" if wanted is FOLDER else "open", refuse)
    failed = await refused(files, wanted)
    assert str(failed) == f"{files / 'o'} may not be read by others than its owner: chmod o+rX"
    assert (failed.kind, failed.recoverable) == (ErrorKind.USER, True)
