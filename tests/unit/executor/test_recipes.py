"""Which commands are calls of flytekit's, and which tasks are forked from the same process."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from flyteidl.core import identifier_pb2

from services.executor import recipes
from services.executor.framing import Broken, Replies, request
from services.executor.runner import Launch
from services.executor.wardens import Warden

EXECUTE = ("pyflyte-execute", "--inputs", "i", "--resolver", "r", "--", "task-module", "mine", "task-name", "t")
FAST = ("pyflyte-fast-execute", "--additional-distribution", "s3://b/code.tar.gz", "--dest-dir", "/work", "--")


def test_a_call_names_the_module_that_its_task_is_in() -> None:
    call = recipes.call_of(EXECUTE)
    assert call is not None
    assert (call.words, call.distribution, call.module) == (EXECUTE, "", "mine")


def test_a_call_with_code_tells_its_dynamic_tasks_where_that_lies() -> None:
    call = recipes.call_of((*FAST, *EXECUTE))
    assert call is not None
    assert (call.distribution, call.module) == ("s3://b/code.tar.gz", "mine")
    added = ("--dynamic-addl-distro", "s3://b/code.tar.gz", "--dynamic-dest-dir", "/work")
    assert call.words == (*EXECUTE[:3], *added, *EXECUTE[3:])


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("python", "-c", "pass"),
        ("/elsewhere/pyflyte-execute", *EXECUTE[1:]),
        (*FAST, "python", "train.py"),
        ("pyflyte-fast-execute", "--additional-distribution", "code.tar.gz", "--", *EXECUTE),
        FAST,
    ],
)
def test_anything_else_starts_a_process(words: tuple[str, ...]) -> None:
    assert recipes.call_of(words) is None


def test_another_module_resolver_names_none() -> None:
    call = recipes.call_of(("pyflyte-execute", "--resolver", "mine.resolver", "--", "a", "b"))
    assert call is not None and call.module == ""


def test_the_same_process_serves_one_environment_and_version_of_code() -> None:
    def of(words: tuple[str, ...], version: str = "v1", **shared: str) -> object:
        call = recipes.call_of(words)
        assert call is not None
        task = identifier_pb2.Identifier(project="p", domain="d", name="t", version=version)
        return recipes.recipe_of(call, Path("/env/bin"), shared, task)

    assert of(EXECUTE, A="1", B="2") == of(EXECUTE, B="2", A="1")
    assert of(EXECUTE) != of(EXECUTE, A="1")
    assert of(EXECUTE) != of(EXECUTE, "v2")
    assert of((*FAST, *EXECUTE)) == of((*FAST, *EXECUTE), "v2"), "the archive's name says which code it is"


def test_a_fork_is_told_what_its_zygote_has_not_in_its_environment() -> None:
    call = recipes.call_of((*FAST, *EXECUTE))
    assert call is not None
    recipe = recipes.Recipe(Path("/env/bin"), (("A", "1"), ("B", "2"), ("HOME", "/mine")), "s3://b/code.tar.gz", "")
    found = {"A": "1", "C": "3", "HOME": "/mine", "TMPDIR": "/t", "TRACEPARENT": ""}
    place = Path("/place")
    launch = Launch(("x",), found, place, place / "work", place / "log", 0)
    made = recipes.warm(call, recipe, cast("Warden", None), launch, None, 0)
    personal = {"HOME": "/mine", "TMPDIR": "/t", "TRACEPARENT": ""}
    assert made.changes == {"B": None, "C": "3", "PYTHONPATH": "/place/work", **personal}
    assert not made.configured  # for C may be what flytekit is configured with


def test_a_reply_comes_in_pieces() -> None:
    data = request({"code": 0, "inline": True, "deck": False, "leak": ""}, b"outputs")
    replies = Replies(7)
    assert not any(replies.feed(data[at : at + 1]) for at in range(len(data) - 1))
    reply = replies.feed(data[-1:])
    assert reply is not None and (reply.code, reply.outputs, reply.leak) == (0, b"outputs", "")


@pytest.mark.parametrize(
    "data",
    [
        request({"code": 0, "inline": True, "deck": False, "leak": ""}, b"too much"),
        request({"code": 0}, b""),
        request({"code": "x", "inline": False, "deck": False, "leak": ""}, b""),
        b"\xff" * 8,
        b"\x02\x00\x00\x00\x00\x00\x00\x00[]",
    ],
)
def test_what_is_no_reply_is_not_believed(data: bytes) -> None:
    with pytest.raises(Broken):
        Replies(7).feed(data)
