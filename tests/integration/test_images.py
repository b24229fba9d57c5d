"""The Dockerfile: linted, and what its stages install is run, here, without an engine: a service starts from its own
folder and its own dependencies. One of them, for installing takes its time; `make images` builds all in earnest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
UV = ROOT / ".cache/boot/bin/uv"


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage of the Dockerfile, continued lines joined."""
    text = DOCKERFILE.read_text().replace("\\\n", "")
    found: list[tuple[str, str]] = []
    inside = False
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            inside = rest.endswith(f" AS {name}")
        elif inside and word and word != "#":
            found.append((word, rest.strip()))
    assert found, f"there is no stage {name}"
    return found


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_built_with_the_versions_that_development_has() -> None:
    (version,) = re.findall(r"^UV_VERSION := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert ("ARG", f"UV={version}") in stage("build")


def test_a_service_starts_from_what_its_image_gets_and_from_nothing_else(tmp_path: Path) -> None:
    service = "queue"
    others = {name: value for name, value in os.environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    environment = others | {
        "PATH": f"{UV.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SERVICE": service,
        "EXTRAS": service,
        "UV_PYTHON": sys.executable,
    }
    for word, rest in (*stage("build"), *stage("installed")):
        if word == "COPY":
            *sources, target = rest.replace("${SERVICE}", service).split()
            for source in sources:
                copy(ROOT / source, tmp_path, target)
        elif word == "RUN" and rest.startswith("uv "):
            # Compiling is left out: it takes longer than everything else, and changes nothing here.
            command = rest.partition("&&")[0]
            done = subprocess.run(
                ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "services").iterdir()} == {"__init__.py", service}
    done = subprocess.run(
        [tmp_path / ".venv/bin/python", "-m", f"services.{service}"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # Everything is imported by then; what it complains of is that nobody has told it anything.
    assert (done.returncode, done.stderr) == (2, "airscrew queue cannot start:\nAIRSCREW_QUEUE_LISTEN is not set\n")
    distributions = tmp_path.glob(".venv/lib/python*/site-packages/*.dist-info")
    installed = {path.name.partition("-")[0].lower() for path in distributions}
    assert "redis" in installed
    assert not installed & {"sqlalchemy", "psycopg"}, "it must not be able to reach the database"
    assert not installed & {"pytest", "flytekit", "mypy"}


def copy(source: Path, folder: Path, target: str) -> None:
    destination = folder / source.name if target == "./" else folder / target
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, destination)
