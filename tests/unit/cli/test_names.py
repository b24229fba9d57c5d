from __future__ import annotations

import pytest

from libs.workflow.identity import ExecutionId
from services.cli import names
from services.cli.names import NodeRef, UsageError

DEFAULT = ExecutionId("flytesnacks", "development", "abc")
OTHER = ExecutionId("p", "d", "abc")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("abc", DEFAULT),
        ("p:d:abc", OTHER),
        ("p/d/abc", OTHER),
        ("@latest", DEFAULT._replace(name="@latest")),
        ("p:d:@latest", OTHER._replace(name="@latest")),
    ],
)
def test_executions_are_written_in_any_of_these_ways(text: str, meant: ExecutionId) -> None:
    assert names.execution(text) == meant


def test_a_bare_name_is_of_the_project_and_domain_that_were_chosen() -> None:
    assert names.execution("abc", "p", "d") == OTHER


@pytest.mark.parametrize("text", ["", "a:b", "a:b:c:d", "::", "a::c", "p/d/"])
def test_what_names_no_execution_is_refused_with_what_would(text: str) -> None:
    with pytest.raises(UsageError, match="give NAME, PROJECT:DOMAIN:NAME or @latest"):
        names.execution(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("abc/n0", NodeRef(DEFAULT, "n0", None)),
        ("abc/n0/2", NodeRef(DEFAULT, "n0", 2)),
        ("p:d:abc/n0", NodeRef(OTHER, "n0", None)),
        ("p:d:abc/n1-0-n0/0", NodeRef(OTHER, "n1-0-n0", 0)),
        ("p/d/abc/n0", NodeRef(OTHER, "n0", None)),
        ("p/d/abc/n0/1", NodeRef(OTHER, "n0", 1)),
    ],
)
def test_nodes_and_attempts_follow_their_execution_after_a_slash(text: str, meant: NodeRef) -> None:
    assert names.node(text) == meant


@pytest.mark.parametrize("text", ["abc", "p:d:abc", "abc/", "abc/n0/x", "p/d/abc", "abc/n0/1/2/3/4", "/n0"])
def test_what_names_no_node_is_refused_with_what_would(text: str) -> None:
    with pytest.raises(UsageError, match="names no"):
        names.node(text)


@pytest.mark.parametrize(
    ("text", "name", "node"),
    [
        ("abc", "p:d:abc", ""),
        ("@latest", "p:d:@latest", ""),
        ("abc/n0", "p:d:abc", "n0"),
        ("x:y:abc", "x:y:abc", ""),
        ("x/y/abc", "x:y:abc", ""),
        ("x:y:abc/n0-0-n1", "x:y:abc", "n0-0-n1"),
        ("x/y/abc/n0", "x:y:abc", "n0"),
    ],
)
def test_an_execution_or_a_node_of_it_can_be_meant(text: str, name: str, node: str) -> None:
    execution, found = names.target(text, "p", "d")
    assert (str(execution), found) == (name, node)


def test_an_attempt_is_neither() -> None:
    with pytest.raises(names.UsageError, match="attempt"):
        names.target("x:y:abc/n0/1")
