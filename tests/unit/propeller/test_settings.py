"""What a propeller is configured with, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.settings import SettingsError, load
from services.propeller.settings import PropellerSettings

ENOUGH = {
    "AIRSCREW_LISTEN": "127.0.0.1:0",
    "AIRSCREW_DATABASE": "sqlite:////d",
    "AIRSCREW_BLOB": "/b",
    "AIRSCREW_ETCD": "127.0.0.1:1",
    "AIRSCREW_SESSION_TOKEN": "token",
}


def loaded(more: Mapping[str, str]) -> PropellerSettings:
    return load(PropellerSettings, "propeller", {**ENOUGH, **more})


@given(st.integers(1, 12), st.integers(0, 500))
def test_the_parts_of_a_limit_are_the_limit_and_nobody_has_none(shards: int, more: int) -> None:
    limit = shards + more
    settings = loaded({"AIRSCREW_SHARDS": str(shards), "AIRSCREW_PROPELLER_PROJECT_LIMITS": f"a={limit}"})
    parts = [settings.limits(shard)["a"] for shard in range(shards)]
    assert sum(parts) == limit and min(parts) >= 1 and max(parts) - min(parts) <= 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"AIRSCREW_SHARDS": "0"}, "SHARDS must be at least 1"),
        (
            {"AIRSCREW_SHARDS": "4", "AIRSCREW_PROPELLER_PROJECT_LIMITS": "a=9,b=3"},
            "PROJECT_LIMITS: b: 3 cannot be divided among 4 shards",
        ),
        ({"AIRSCREW_PROPELLER_PROJECT_LIMITS": "a=none"}, "PROJECT_LIMITS: a: 'none' is not a positive number"),
        ({"AIRSCREW_PROPELLER_PROJECT_WEIGHTS": "a=-1"}, "PROJECT_WEIGHTS: a: '-1' is not a positive number"),
    ],
)
def test_what_cannot_work_is_refused_by_name(more: Mapping[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        loaded(more)


@pytest.mark.parametrize(
    ("listen", "address", "follow_at"),
    [
        ("10.0.0.7:9090", "", "10.0.0.7:9090"),
        ("0.0.0.0:9090", "10.0.0.7:9090", "10.0.0.7:9090"),
        ("[::]:9090", "leader.example:9090", "leader.example:9090"),
        ("0.0.0.0:9090", "", ""),
        ("[::]:9090", "", ""),
        (":9090", "", ""),
        ("127.0.0.1:0", "", ""),
        ("127.0.0.1:9090", "0.0.0.0:9090", ""),
        ("127.0.0.1:9090", "127.0.0.1:9090", "127.0.0.1:9090"),
    ],
)
def test_nobody_is_told_to_follow_where_nobody_can_connect_to(listen: str, address: str, follow_at: str) -> None:
    settings = loaded({"AIRSCREW_LISTEN": listen, "AIRSCREW_PROPELLER_ADDRESS": address})
    assert settings.follow_at == follow_at
