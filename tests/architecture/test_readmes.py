"""Whoever follows a README finds something: every path that one names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("services/*/README.md"))]

_PATH = re.compile(r"`((?:libs|services|protos|tests|docs|deploy|examples)/[\w./-]*|[\w/]+\.(?:py|proto|md))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = _PATH.findall(page.read_text())
    assert [path for path in named if not (ROOT / path).exists() and not (page.parent / path).exists()] == []


def test_every_service_has_a_readme() -> None:
    services = {app.parent for app in ROOT.glob("services/*/__main__.py")}
    assert [service.name for service in sorted(services) if not (service / "README.md").exists()] == []
