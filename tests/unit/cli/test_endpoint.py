from __future__ import annotations

from pathlib import Path

import pytest

from services.cli import endpoint
from services.cli.endpoint import Endpoint
from services.cli.names import UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def configure(home: Path, text: str) -> Path:
    path = home / ".flyte" / "config.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_more_explicit_wins(home: Path) -> None:
    everything = {
        "AIRSCREW_ENDPOINT": "b:2",
        "FLYTE_PLATFORM_URL": "c:3",
        "FLYTE_PLATFORM_INSECURE": "true",
        "FLYTECTL_CONFIG": str(configure(home, "admin: {endpoint: 'dns:///d:4', insecure: true}")),
    }
    found = [endpoint.find("a:1", everything).address]
    for name in ("", "AIRSCREW_ENDPOINT", "FLYTE_PLATFORM_URL", "FLYTECTL_CONFIG"):
        everything.pop(name, None)
        found.append(endpoint.find(None, everything).address)

    assert found == ["a:1", "b:2", "c:3", "d:4", "d:4"]


def test_without_any_word_it_is_the_local_system() -> None:
    assert endpoint.find(None, {}) == Endpoint("localhost:30080", "the default")


def test_a_configuration_without_endpoint_says_nothing(home: Path) -> None:
    configure(home, "logger: {level: 1}")
    assert endpoint.find(None, {}).address == "localhost:30080"


@pytest.mark.parametrize(
    ("text", "address", "secure"),
    [
        ("dns:///h:81", "h:81", False),
        ("http://h:81/", "h:81", False),
        ("https://h", "h:443", True),
        ("https://h:8443", "h:8443", True),
    ],
)
def test_addresses_are_taken_as_flyte_writes_them(text: str, address: str, secure: bool) -> None:
    found = endpoint.find(text, {})
    assert (found.address, found.secure) == (address, secure)


def test_a_flyte_configuration_is_secure_unless_it_says_otherwise(home: Path) -> None:
    configure(home, "admin: {endpoint: 'dns:///h:443'}")
    assert endpoint.find(None, {}).secure
    assert endpoint.find(None, {"FLYTE_PLATFORM_URL": "h:443"}).secure


@pytest.mark.parametrize("text", ["h", "h:port", ":80", ""])
def test_what_is_no_address_is_refused_with_its_source(text: str) -> None:
    with pytest.raises(UsageError, match="AIRSCREW_ENDPOINT"):
        endpoint.find(None, {"AIRSCREW_ENDPOINT": text or "/"})


def test_a_broken_configuration_is_refused_with_its_path(home: Path) -> None:
    path = configure(home, "admin: [")
    with pytest.raises(UsageError, match=str(path)):
        endpoint.find(None, {})
