"""The rule of the claim, without a database."""

from __future__ import annotations

import pytest

from libs.store.claims import Claim, renewed_epoch
from libs.workflow.errors import Fenced

CLAIM = Claim(0, "etcd-1", 10, "a", "a:1", 77)


def test_the_leader_that_claimed_last_raises_its_epoch() -> None:
    assert renewed_epoch(CLAIM, CLAIM.row(4)) == 5


@pytest.mark.parametrize(
    "successor",
    [
        Claim(0, "etcd-1", 11, "b", "b:1", 78),
        Claim(0, "etcd-1", 11, "a", "a:1", 78),
        Claim(0, "etcd-2", 10, "a", "a:1", 78),
    ],
)
def test_a_leader_of_the_past_does_not(successor: Claim) -> None:
    with pytest.raises(Fenced, match="a leads no longer"):
        renewed_epoch(CLAIM, successor.row(5))


def test_nor_does_one_whose_claim_is_gone() -> None:
    with pytest.raises(Fenced):
        renewed_epoch(CLAIM, None)
