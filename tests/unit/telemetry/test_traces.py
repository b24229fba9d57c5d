"""Trace contexts are derived and cross the wire; spans go out only when asked for."""

from __future__ import annotations

import pytest

from libs.telemetry.traces import Span, TraceContext, Tracing
from tests.support.spans import Kept

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROOT = TraceContext(1, 2, True)


def test_a_traceparent_survives_a_round_trip() -> None:
    context = TraceContext.parse(PARENT)
    assert context == TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True)
    assert context is not None
    assert context.traceparent() == PARENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        PARENT.upper(),
        PARENT.replace("00-", "ff-", 1),
        PARENT + "-more",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
def test_a_malformed_traceparent_is_no_context(text: str) -> None:
    assert TraceContext.parse(text) is None


def test_a_later_version_may_say_more() -> None:
    assert TraceContext.parse(PARENT.replace("00-", "01-", 1) + "-more") == TraceContext.parse(PARENT)


def test_only_the_sampled_flag_of_the_flags_counts() -> None:
    assert [TraceContext.parse(PARENT[:-2] + flags) for flags in ("00", "02", "03")] == [
        TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, sampled)
        for sampled in (False, False, True)
    ]


def test_the_same_parts_give_the_same_child_and_others_another() -> None:
    child = ROOT.child("node", "n0")
    assert child == ROOT.child("node", "n0")
    assert (child.trace_id, child.sampled) == (ROOT.trace_id, ROOT.sampled)
    others = {ROOT.child("node", "n1"), ROOT.child("noden0"), ROOT.child("node", "n0", 0), child.child("node", "n0")}
    assert len(others | {ROOT, child}) == 6


def test_a_minted_context_is_valid_and_depends_on_the_entropy() -> None:
    first, second = TraceContext.mint(bytes(16), True), TraceContext.mint(bytes(15) + b"\x01", True)
    assert TraceContext.parse(first.traceparent()) == first
    assert first.trace_id != second.trace_id


def test_a_sampled_span_reaches_the_exporter_with_the_ids_it_was_given() -> None:
    kept = Kept()
    Tracing(kept).emit("execution", ROOT, None, 10, 20, {"flyte.node.id": "n0"}, error="boom", links=[ROOT])
    assert kept.spans == [Span("execution", ROOT, None, 10, 20, {"flyte.node.id": "n0"}, "boom", (ROOT,))]


def test_a_span_that_is_not_sampled_is_not_recorded() -> None:
    kept = Kept()
    Tracing(kept).emit("execution", ROOT._replace(sampled=False), None, 10, 20)
    assert kept.spans == []


def test_an_exporter_that_fails_disturbs_nobody() -> None:
    class Broken(Kept):
        def export(self, span: Span) -> None:
            raise OSError("no")

    Tracing(Broken()).emit("execution", ROOT, None, 10, 20)


def test_shutdown_sends_what_is_left_and_turns_tracing_off() -> None:
    kept = Kept()
    tracing = Tracing(kept)
    tracing.shutdown()
    tracing.emit("execution", ROOT, None, 10, 20)
    assert (kept.closed, kept.spans, tracing.enabled) == (True, [], False)
