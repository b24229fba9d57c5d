"""Why an attempt waits for a slot, where it is more than that others come first: as it is kept and shown.

Like errors, a reason is `Code: sentence`, so that programs can tell reasons apart and people can read them.
"""

from __future__ import annotations

from enum import StrEnum

from libs.workflow.quantities import Slots


class Wait(StrEnum):
    """What keeps an attempt from ever getting a slot, as things are."""

    NO_EXECUTOR = "NoExecutor"
    NO_FITTING_EXECUTOR = "NoFittingExecutor"
    ONLY_INTERRUPTIBLE = "OnlyInterruptibleExecutors"


def reason(code: Wait, sentence: str) -> str:
    return f"{code}: {sentence}"


def parse(text: str) -> tuple[Wait | None, str]:
    """The code and the sentence of a reason; no code for what is none."""
    code, separator, sentence = text.partition(": ")
    if separator and code in Wait.__members__.values():
        return Wait(code), sentence
    return None, text


def shown(slots: Slots) -> str:
    """Slots for people: `64 cpu, 2Gi memory, 1 gpu`."""
    parts = [f"{slots.cpu_millis / 1000:g} cpu", f"{_bytes(slots.memory_bytes)} memory"]
    if slots.gpus:
        parts.append(f"{slots.gpus} gpu")
    return ", ".join(parts)


def _bytes(count: int) -> str:
    for power, suffix in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if count >= 1 << power:
            return f"{count / (1 << power):.4g}{suffix}"
    return str(count)
