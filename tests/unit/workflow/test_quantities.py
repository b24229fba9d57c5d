"""Kubernetes quantities, good and bad, and what a task asks for in total."""

from __future__ import annotations

from decimal import Decimal

import pytest
from flyteidl.core import tasks_pb2

from libs.workflow.errors import InvalidArgument
from libs.workflow.quantities import Slots, parse_quantity, requested

CPU, MEMORY, GPU = tasks_pb2.Resources.CPU, tasks_pb2.Resources.MEMORY, tasks_pb2.Resources.GPU
DEFAULT = Slots(cpu_millis=1000, memory_bytes=512, gpus=0)


def resources(requests: dict[int, str] | None = None, limits: dict[int, str] | None = None) -> tasks_pb2.Resources:
    entry = tasks_pb2.Resources.ResourceEntry
    return tasks_pb2.Resources(
        requests=[entry(name=name, value=text) for name, text in (requests or {}).items()],
        limits=[entry(name=name, value=text) for name, text in (limits or {}).items()],
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"), ("2", "2"), ("1.5", "1.5"), (".5", "0.5"), ("5.", "5"), ("+1", "1"), (" 1 ", "1"),
        ("500m", "0.5"), ("7u", "0.000007"), ("7n", "0.000000007"),
        ("1k", "1000"), ("1M", "1000000"), ("1G", "1e9"), ("1T", "1e12"), ("1P", "1e15"), ("1E", "1e18"),
        ("1Ki", "1024"), ("1.5Gi", "1610612736"), ("1Mi", "1048576"), ("1Ti", str(2**40)), ("1Pi", str(2**50)),
        ("1Ei", str(2**60)), ("1e3", "1000"), ("1E3", "1000"), ("12e-1", "1.2"),
    ],
)  # fmt: skip
def test_a_quantity_is_the_number_that_kubernetes_reads(text: str, value: str) -> None:
    assert parse_quantity(text, "cpu") == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "m", "one", "1KiB", "1mm", "1 Gi", "1gi", "1K", "0x10", "1_000", "½", "\u0663", "--1", "1e", "1e3Ki",
        "NaN", "sNaN", "Infinity", "-Infinity", "1e400", "1e999999999", "-1", "-1m", "8Ei", "9223372036854775808",
    ],
)  # fmt: skip
def test_what_is_no_quantity_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgument, match="task t cpu: "):
        parse_quantity(text, "task t cpu")


def test_a_request_counts_before_a_limit_and_a_limit_before_the_default() -> None:
    asked = resources({CPU: "250m"}, {CPU: "4", MEMORY: "1Ki"})
    assert requested(asked, DEFAULT) == Slots(cpu_millis=250, memory_bytes=1024, gpus=0)
    assert requested(resources(), DEFAULT) == DEFAULT


def test_fractions_of_what_is_counted_are_rounded_up() -> None:
    asked = resources({CPU: "1500u", MEMORY: "0.5", GPU: "0.1"})
    assert requested(asked, DEFAULT) == Slots(cpu_millis=2, memory_bytes=1, gpus=1)


def test_asking_for_nothing_is_not_the_default() -> None:
    assert requested(resources({CPU: "0", MEMORY: "0"}), DEFAULT) == Slots()


def test_a_bad_quantity_is_named_by_its_field_and_resource() -> None:
    with pytest.raises(InvalidArgument, match=r"task t\.limits\.MEMORY: '1KB'"):
        requested(resources(limits={MEMORY: "1KB"}), DEFAULT, "task t")


def test_slots_fit_only_when_every_part_does() -> None:
    room = Slots(1000, 1000, 1)
    assert Slots(1000, 1000, 1).fits(room)
    for more in (Slots(1001, 0, 0), Slots(0, 1001, 0), Slots(0, 0, 2)):
        assert not more.fits(room)
    assert room.plus(Slots(1, 2, 3)).minus(Slots(1, 2, 3)) == room
