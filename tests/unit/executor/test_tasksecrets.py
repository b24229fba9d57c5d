"""Which secrets a task gets, and where it finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from flyteidl.core.security_pb2 import Secret, SecurityContext

from libs.workflow import errors
from services.executor import tasksecrets
from services.executor.tasksecrets import SecretSource

HOME = Path("/private/secrets")
HELPERS = {"FLYTE_SECRETS_ENV_PREFIX", "FLYTE_SECRETS_DEFAULT_DIR"}


@pytest.fixture
def source(tmp_path: Path) -> SecretSource:
    for path, content in {
        "store/token": b"plain",
        "store/v2/token": b"second",
        "store/picture": b"\xff\xfe",
        "alone": b"no key",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return SecretSource(tmp_path, {"AIRSCREW_EXECUTOR_SECRET_STORE_NAME": "of a variable\n", "PATH": "/bin"})


def variables(source: SecretSource, **asked: object) -> dict[str, str]:
    secret = Secret(mount_requirement=Secret.ENV_VAR, **asked)
    given = tasksecrets.deliver(source, [secret], HOME)
    assert not given.files
    return {name: value for name, value in given.environment.items() if name not in HELPERS}


def files(source: SecretSource, **asked: object) -> dict[str, bytes]:
    given = tasksecrets.deliver(source, [Secret(**asked)], HOME)
    assert given.environment["FLYTE_SECRETS_DEFAULT_DIR"] == str(HOME)
    return {str(path.relative_to(HOME)): content for path, content in given.files.items()}


def test_a_variable_is_named_as_flytekit_looks_for_it(source: SecretSource) -> None:
    assert variables(source, group="store", key="token") == {"_FSEC_STORE_TOKEN": "plain"}
    assert variables(source, group="Store", key="name") == {"_FSEC_STORE_NAME": "of a variable"}
    assert variables(source, group="alone") == {"_FSEC_ALONE": "no key"}


def test_a_file_lies_where_flytekit_looks_for_it(source: SecretSource) -> None:
    assert files(source, group="store", key="token") == {"store/token": b"plain"}
    assert files(source, group="store", key="picture", mount_requirement=Secret.FILE) == {"store/picture": b"\xff\xfe"}
    assert files(source, group="STORE", key="NAME") == {"store/name": b"of a variable\n"}


def test_a_version_is_that_version_and_found_with_and_without_it(source: SecretSource) -> None:
    assert variables(source, group="store", group_version="v2", key="token") == {
        "_FSEC_STORE_V2_TOKEN": "second",
        "_FSEC_STORE_TOKEN": "second",
    }
    assert files(source, group="store", group_version="v2", key="token") == {
        "store/v2/token": b"second",
        "store/token": b"second",
    }
    with pytest.raises(errors.InvalidArgument, match="version 'v3'"):
        variables(source, group="store", group_version="v3", key="token")


def test_what_is_asked_for_without_version_is_never_a_version(source: SecretSource) -> None:
    both = [Secret(group="store", group_version="v2", key="token"), Secret(group="store", key="token")]
    given = tasksecrets.deliver(source, both, HOME).files
    assert given == {HOME / "store/token": b"plain", HOME / "store/v2/token": b"second"}


def test_a_variable_of_the_tasks_choice_has_the_secret_or_the_path(source: SecretSource) -> None:
    assert variables(source, group="store", key="token", env_var="T")["T"] == "plain"
    given = tasksecrets.deliver(source, [Secret(group="store", key="token", env_var="T")], HOME)
    assert given.environment["T"] == str(HOME / "store/token")


def test_a_task_without_secrets_gets_nothing(source: SecretSource) -> None:
    given = tasksecrets.deliver(source, (), HOME)
    assert not given.environment and not given.files


@pytest.mark.parametrize("asked", [{"group": "store", "key": "none"}, {"group": "store"}, {"group": "x", "key": "y"}])
def test_a_missing_secret_is_named_and_no_other_is_shown(source: SecretSource, asked: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidArgument, match=f"group '{asked['group']}'") as caught:
        variables(source, **asked)
    assert "plain" not in caught.value.message and repr(asked.get("key", "")) in caught.value.message


@pytest.mark.parametrize("bad", ["..", ".", "../store", "/etc", "a\0b", "a=b"])
def test_a_name_never_leads_out_of_the_directory(source: SecretSource, bad: str) -> None:
    for asked in ({"group": bad, "key": "token"}, {"group": "store", "key": bad}, {"group_version": bad, "key": "k"}):
        with pytest.raises(errors.InvalidArgument, match="no plain name"):
            variables(source, **asked)


def test_what_is_no_text_cannot_be_a_variable(source: SecretSource) -> None:
    with pytest.raises(errors.InvalidArgument, match="ask for a file"):
        variables(source, group="store", key="picture")


def test_a_secret_that_the_operator_keeps_from_the_executor_is_the_operators_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(errors.FailedPrecondition, match="Permission denied"):
        variables(SecretSource(tmp_path, {}), group="store", key="token")


def test_an_executions_secrets_add_to_the_tasks() -> None:
    one, two = Secret(group="a", key="b"), Secret(group="c", key="d")
    of_execution = SecurityContext(secrets=[two]).SerializeToString()
    assert tasksecrets.wanted(SecurityContext(secrets=[one]), of_execution) == (one, two)


def test_files_are_for_their_reader_only(tmp_path: Path) -> None:
    tasksecrets.write({tmp_path / "secrets/store/token": b"x"}, tmp_path, None, None)
    path = tmp_path / "secrets" / "store" / "token"
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_secrets_that_cannot_both_be_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="take variables"):
        tasksecrets.write({tmp_path / "g/v": b"x", tmp_path / "g/v/k": b"y"}, tmp_path, None, None)


def test_secrets_do_not_show_in_a_representation(source: SecretSource) -> None:
    assert "plain" not in repr(tasksecrets.deliver(source, [Secret(group="store", key="token")], HOME))
