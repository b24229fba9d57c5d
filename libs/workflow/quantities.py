"""Resource quantities as Kubernetes writes them (`500m`, `2`, `1.5Gi`), and what a task asks for in total."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from typing import NamedTuple

from flyteidl.core import tasks_pb2

from libs.workflow.errors import InvalidArgument

_QUANTITY = re.compile(r"\+?((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2}(?![A-Za-z]))?)([numkMGTPE]|[KMGTPE]i)?")
_LARGEST = 2**63 - 1
_SUFFIXES = {
    None: Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


class Slots(NamedTuple):
    """What an attempt takes from an executor, or what an executor has: a vector."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: int = 0

    def fits(self, free: Slots) -> bool:
        cpu, memory, gpus = self  # at once: a field of a named tuple takes four times as long as a variable
        free_cpu, free_memory, free_gpus = free
        return cpu <= free_cpu and memory <= free_memory and gpus <= free_gpus

    def plus(self, other: Slots) -> Slots:
        cpu, memory, gpus = self
        other_cpu, other_memory, other_gpus = other
        return Slots(cpu + other_cpu, memory + other_memory, gpus + other_gpus)

    def minus(self, other: Slots) -> Slots:
        cpu, memory, gpus = self
        other_cpu, other_memory, other_gpus = other
        return Slots(cpu - other_cpu, memory - other_memory, gpus - other_gpus)


def sum_of(many: Iterable[Slots]) -> Slots:
    """All of them together."""
    return reduce(Slots.plus, many, Slots())


def parse_quantity(text: str, field: str) -> Decimal:
    """The number that a Kubernetes quantity stands for. Raises InvalidArgument naming `field`."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f"{field}: {text!r} is not a quantity such as 500m, 2 or 1.5Gi")
    value = Decimal(match[1]) * _SUFFIXES[match[2]]
    if value > _LARGEST:
        raise InvalidArgument(f"{field}: {text!r} is more than {_LARGEST}")
    return value


def requested(resources: tasks_pb2.Resources, default: Slots, field: str = "resources") -> Slots:
    """What `resources` asks for: a request where there is one, else the limit, else the default, per resource."""
    asked: dict[int, Decimal] = {}
    for part, entries in (("limits", resources.limits), ("requests", resources.requests)):
        for entry in entries:
            name = tasks_pb2.Resources.ResourceName.Name(entry.name)
            asked[entry.name] = parse_quantity(entry.value, f"{field}.{part}.{name}")
    cpu = asked.get(tasks_pb2.Resources.CPU)
    memory = asked.get(tasks_pb2.Resources.MEMORY)
    gpus = asked.get(tasks_pb2.Resources.GPU)
    return Slots(
        default.cpu_millis if cpu is None else _rounded_up(cpu * 1000),
        default.memory_bytes if memory is None else _rounded_up(memory),
        default.gpus if gpus is None else _rounded_up(gpus),
    )


def _rounded_up(value: Decimal) -> int:
    return int(value.to_integral_value(rounding="ROUND_CEILING"))
