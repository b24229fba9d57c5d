"""What this machine offers to attempts, and what of it is free. The executor is the authority on its slots.

Invariants: nothing is ever promised twice: the sum of what is taken never exceeds the capacity, and a gpu belongs to at
most one grant at a time. Taking is all or nothing and happens in one step of the event loop. Whoever took gives back
only when the last process of the attempt is gone, because until then a device's memory is not free.
"""

from __future__ import annotations

from dataclasses import dataclass

from libs.workflow.quantities import Slots


@dataclass(slots=True, eq=False)
class Grant:
    """What one attempt holds, or one after the other. `devices` are the gpus that are its own."""

    slots: Slots
    devices: tuple[str, ...]
    holders: int = 1
    """Who has it or will: it is free when all of them have given it back."""


class SlotPool:
    """Capacity minus grants."""

    def __init__(self, cpu_millis: int, memory_bytes: int, devices: tuple[str, ...]) -> None:
        if len(set(devices)) != len(devices):
            raise ValueError(f"a gpu is listed twice: {', '.join(devices)}")
        self.capacity = Slots(cpu_millis, memory_bytes, len(devices))
        self.devices = devices
        self.free = self.capacity
        # The device that was given back longest ago is taken first: it has had the most time to cool down.
        self._free_devices = list(devices)

    def take(self, wanted: Slots) -> Grant | None:
        """Takes `wanted` as a whole, or answers None and takes nothing."""
        if not wanted.fits(self.free):
            return None
        self.free = self.free.minus(wanted)
        devices, self._free_devices = self._free_devices[: wanted.gpus], self._free_devices[wanted.gpus :]
        return Grant(wanted, tuple(devices))

    def hold(self, wanted: Slots) -> Grant:
        """Takes `wanted` whether it is free or not: it is in use already."""
        self.free = self.free.minus(wanted)
        return Grant(wanted, ())

    def share(self, grant: Grant) -> None:
        """Somebody else will have it after those who have it or will."""
        grant.holders += 1

    def give_back(self, grant: Grant) -> None:
        """Frees what `grant` holds, if nobody else will have it. Exactly once per holder."""
        grant.holders -= 1
        if not grant.holders:
            self._free(grant)

    def _free(self, grant: Grant) -> None:
        self.free = self.free.plus(grant.slots)
        self._free_devices.extend(grant.devices)


class CountedPool(SlotPool):
    """Room for a number of attempts, whatever they need: that is found elsewhere, in a cluster."""

    def __init__(self, places: int, each: Slots) -> None:
        """`each` is more than any attempt will ask for."""
        super().__init__(each.cpu_millis * places, each.memory_bytes * places, ())
        self.capacity = self.free = Slots(each.cpu_millis * places, each.memory_bytes * places, each.gpus * places)
        self._places = places

    def take(self, wanted: Slots) -> Grant | None:
        has_place = self._places > 0 or wanted == Slots()  # who only waits for others must not keep them from running
        return self.hold(wanted) if has_place and wanted.fits(self.free) else None

    def hold(self, wanted: Slots) -> Grant:
        self._places -= wanted != Slots()
        return super().hold(wanted)

    def _free(self, grant: Grant) -> None:
        self._places += grant.slots != Slots()
        super()._free(grant)
