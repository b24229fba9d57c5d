"""The grammar of flyte:// addresses."""

from __future__ import annotations

import pytest

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import ExecutionId
from services.admin.flyte_urls import FlyteUrl, Kind, of_node, parse

EXECUTION = ExecutionId("p", "d", "e1")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("flyte://v1/p/d/e1/n0/i", FlyteUrl(EXECUTION, "n0", None, Kind.INPUTS, "")),
        ("flyte://v1/p/d/e1/n0/o", FlyteUrl(EXECUTION, "n0", None, Kind.OUTPUTS, "")),
        ("flyte://v1/p/d/e1/n0/2/o", FlyteUrl(EXECUTION, "n0", 2, Kind.OUTPUTS, "")),
        ("flyte://v1/p/d/e1/n1-0-n0/0/i/x", FlyteUrl(EXECUTION, "n1-0-n0", 0, Kind.INPUTS, "x")),
        ("flyte://v1/p/d/e1/n0/o/o0", FlyteUrl(EXECUTION, "n0", None, Kind.OUTPUTS, "o0")),
        ("flyte://v1/p/d/e1/n0/d", FlyteUrl(EXECUTION, "n0", None, Kind.DECK, "")),
    ],
)
def test_an_address_is_read(url: str, expected: FlyteUrl) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    "url",
    ["", "flyte://v1/p/d/e1/n0", "flyte://v2/p/d/e1/n0/i", "flyte://v1/p/d/e1/n0/x", "flyte://v1/p/d/e1/n0/d/deck",
     "flyte://v1/p/d/e1/n0/0/0/i", "http://v1/p/d/e1/n0/i", "flyte://v1/p/d/e1/n0/i/", "flyte://v1/p/../e1/n0/i"],
)  # fmt: skip
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="flyte_url: "):
        parse(url)


@pytest.mark.parametrize("attempt", [None, 0, 3])
@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_written_reads_the_same(kind: Kind, attempt: int | None) -> None:
    assert parse(of_node(EXECUTION, "n0", kind, attempt)) == FlyteUrl(EXECUTION, "n0", attempt, kind, "")
