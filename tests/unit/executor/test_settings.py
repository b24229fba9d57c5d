"""Settings of the executor."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs import settings
from services.executor.environments import Environments
from services.executor.settings import ExecutorSettings

MINIMUM = {
    "AIRSCREW_PROPELLERS": "a:1,b:2",
    "AIRSCREW_SESSION_TOKEN": "hush",
    "AIRSCREW_BLOB": "/blob",
    "AIRSCREW_EXECUTOR_DATA_DIR": "/data",
}


def test_four_settings_are_enough() -> None:
    loaded = settings.load(ExecutorSettings, "executor", MINIMUM)
    assert loaded.propellers == ("a:1", "b:2") and loaded.gpus is None and loaded.cpu_millis is None
    assert "hush" not in repr(loaded)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"AIRSCREW_PROPELLERS": ","}, "PROPELLERS"),
        ({"AIRSCREW_EXECUTOR_DATA_DIR": "relative"}, "DATA_DIR"),
        ({"AIRSCREW_EXECUTOR_SECRETS_DIR": "relative"}, "SECRETS_DIR"),
        ({"AIRSCREW_EXECUTOR_OFFLOAD_FROM_MB": "2000"}, "OFFLOAD_FROM_MB"),
        ({"AIRSCREW_EXECUTOR_RESEND_SECONDS": "0"}, "RESEND_SECONDS"),
        ({"AIRSCREW_EXECUTOR_TASK_UID": "1000"}, "TASK_GID"),
        ({"AIRSCREW_EXECUTOR_SLOTS": "0"}, "SLOTS"),
        ({"AIRSCREW_EXECUTOR_POD_IMAGE_PULL_POLICY": "Sometimes"}, "POD_IMAGE_PULL_POLICY"),
        ({"AIRSCREW_EXECUTOR_POD_ENV_FROM": "airscrew-blob"}, "POD_ENV_FROM"),
        ({"AIRSCREW_EXECUTOR_POD_TOLERATIONS": "gpu:Sometimes"}, "POD_TOLERATIONS"),
        ({"AIRSCREW_EXECUTOR_POD_INTERRUPTIBLE_TOLERATIONS": "=x"}, "POD_INTERRUPTIBLE_TOLERATIONS"),
        ({"AIRSCREW_EXECUTOR_POD_MEMORY": "much"}, "POD_MEMORY"),
    ],
)
def test_mistakes_are_named(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(settings.SettingsError, match=named):
        settings.load(ExecutorSettings, "executor", MINIMUM | wrong)


def test_an_unknown_image_gets_the_default_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Environments({"special:v1": "/special", "*": "/default"}, None)
    assert given.of("special:v1").commands == Path("/special/bin")
    assert given.of("special:v2").prefix == given.of("").prefix == Path("/default")
    assert Environments({}, Path("/venv/bin/python")).of("any").prefix == Path("/venv")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert Environments({}, None).of("any").commands is None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pyflyte-execute").touch(mode=0o755)
    assert Environments({}, None).of("any").prefix == tmp_path
