"""Names and keys that are made up."""

from __future__ import annotations

import random

from libs.workflow import identity


def test_a_generated_name_is_for_ever_the_same_for_the_same_bytes() -> None:
    # Executions that were launched by an older release are found by these names.
    assert identity.execution_name(bytes(range(16))) == identity.execution_name(bytes(range(17)))
    assert identity.execution_name(b"\0" * 16) == "a" + "a" * 19
    number = int.from_bytes(bytes(range(16)), "big")
    letters = ""
    for _ in range(19):
        number, digit = divmod(number, 36)
        letters += "abcdefghijklmnopqrstuvwxyz0123456789"[digit]
    assert identity.execution_name(bytes(range(16))) == "a" + letters


def test_keys_that_are_made_together_ascend_and_differ_even_when_chance_repeats_itself() -> None:
    chance = random.Random(7)
    keys = identity.execution_keys(1_700_000_000_000_000, 1000, lambda size: bytes(chance.choices(range(16), k=size)))
    assert len(set(keys)) == 1000 and keys == sorted(keys)
    assert {key >> 22 for key in keys} == {1_700_000_000_000 & (1 << 41) - 1}
