"""What settings say of every pod."""

from __future__ import annotations

from libs import settings
from services.executor.pods.fleet import graces_of, shape_of
from services.executor.pods.observe import Graces
from services.executor.settings import ExecutorSettings
from services.executor.variables import Platform

MINIMUM = {
    "AIRSCREW_PROPELLERS": "a:1",
    "AIRSCREW_SESSION_TOKEN": "hush",
    "AIRSCREW_BLOB": "s3://b/c",
    "AIRSCREW_EXECUTOR_DATA_DIR": "/data",
}


def loaded(**said: str) -> ExecutorSettings:
    return settings.load(
        ExecutorSettings, "executor", MINIMUM | {f"AIRSCREW_EXECUTOR_{name}": value for name, value in said.items()}
    )


def test_without_settings_graces_are_flytes() -> None:
    assert graces_of(loaded()) == Graces()


def test_tolerations_are_written_as_taints_are() -> None:
    shape = shape_of(loaded(POD_TOLERATIONS="gpu=a100:NoSchedule,spot:NoExecute,any"), "e", Platform())
    assert shape.tolerations == [
        {"operator": "Equal", "key": "gpu", "value": "a100", "effect": "NoSchedule"},
        {"operator": "Exists", "key": "spot", "effect": "NoExecute"},
        {"operator": "Exists", "key": "any"},
    ]


def test_variables_come_from_secrets_and_config_maps_where_there_are_any() -> None:
    shape = shape_of(loaded(POD_ENV_FROM="secret/airscrew-blob,configmap/more"), "e", Platform())
    assert shape.env_from == [
        {"secretRef": {"name": "airscrew-blob", "optional": True}},
        {"configMapRef": {"name": "more", "optional": True}},
    ]


def test_a_pod_has_as_long_to_end_as_a_process_has_and_at_least_a_second() -> None:
    assert shape_of(loaded(KILL_GRACE_SECONDS="0.2"), "e", Platform()).grace_seconds == 1
    assert shape_of(loaded(KILL_GRACE_SECONDS="29.5"), "e", Platform()).grace_seconds == 30
