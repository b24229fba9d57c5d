"""Where the compiled tree may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.native import build


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    with pytest.raises(SystemExit, match="none of ours"):
        build.build(tmp_path, "0")
    assert kept.read_text() == "mine"
