"""Which databases are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.store import address
from libs.workflow.errors import FailedPrecondition, InvalidArgument


def test_a_sqlite_path_is_absolute_with_three_or_four_slashes() -> None:
    assert address.parse("sqlite:////var/lib/a.db") == address.Sqlite(Path("/var/lib/a.db"))
    assert address.parse("sqlite:///var/lib/a.db") == address.Sqlite(Path("/var/lib/a.db"))
    assert address.parse("sqlite:////with%20space/a.db") == address.Sqlite(Path("/with space/a.db"))


@pytest.mark.parametrize("written", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgres_address_is_what_libpq_takes(written: str) -> None:
    found = address.parse(f"{written}://me:secret@db:5432/airscrew?sslmode=require")
    assert found == address.Postgres("postgresql://me:secret@db:5432/airscrew?sslmode=require")


@pytest.mark.parametrize(
    "url", ["", "mysql://h/d", "sqlite://", "sqlite:///", "sqlite://host/x.db", "/var/a.db", "postgresql://host"]
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^database: "):
        address.parse(url)


def test_a_password_is_never_shown() -> None:
    assert address.without_password("postgresql://me:secret@db/x") == "postgresql://me:…@db/x"
    with pytest.raises(InvalidArgument) as refused:
        address.parse("mysql://me:secret@db/x")
    assert "secret" not in refused.value.message


def test_a_local_disk_is_accepted_and_a_missing_directory_said(tmp_path: Path) -> None:
    address.require_local_disk(tmp_path / "new.db")
    with pytest.raises(FailedPrecondition, match="No such file"):
        address.require_local_disk(tmp_path / "nowhere" / "new.db")


def test_a_network_file_system_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_file_system_type", lambda _directory: 0x6969)
    with pytest.raises(FailedPrecondition, match=r"network file system \(NFS\)"):
        address.require_local_disk(tmp_path / "new.db")
