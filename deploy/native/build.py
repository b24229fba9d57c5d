"""Compiles the modules that a leader spends its time in: `make native`.

What comes out is a tree of its own below `build/native`: a copy of our code, and beside the modules of MODULES what
mypyc and a C compiler have made of them, which Python prefers. Nothing is ever compiled in place: whoever works on the
code runs what it says, and whoever puts that tree first in PYTHONPATH runs all of one moment's. It is built anew as
soon as anything differs that it was built from.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

from deploy.native import expand

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("services", "libs", "protos")
STAMP: Final = ".built"
_LENIENT: Final = ("--no-warn-unreachable", "--allow-untyped-defs", "--allow-incomplete-defs", "--no-incremental")
"""What `make lint` has found right is not judged anew, and a constructor has no types for the fields of its bases."""
MODULES: Final = (
    "libs/workflow/identity.py",
    "libs/workflow/options.py",
    "libs/workflow/phases.py",
    "libs/workflow/retry.py",
    "libs/workflow/state.py",
    "libs/workflow/values.py",
    "libs/workflow/waits.py",
    "libs/workflow/quantities.py",
    "libs/workflow/graph/model.py",
    "libs/workflow/machine/*.py",
    "libs/workqueue/*.py",
    "libs/wire/hints.py",
    "libs/wire/reports.py",
    "libs/wire/session.py",
    "libs/wire/codec.py",
    "libs/store/rows.py",
    "libs/store/ledger_rows.py",
    "libs/store/ledger_sqlite.py",
    "libs/store/sqlite_groups.py",
    "libs/store/sqlite_states.py",
    "libs/telemetry/queues.py",
    "libs/clients/queue/keys.py",
    "services/propeller/assignments.py",
    "services/propeller/consequences.py",
    "services/propeller/ends.py",
    "services/propeller/lines.py",
    "services/propeller/passed.py",
    "services/propeller/pending.py",
    "services/propeller/placement.py",
    "services/propeller/placing.py",
    "services/propeller/quick.py",
    "services/propeller/reconcile.py",
    "services/propeller/rooms.py",
    "services/propeller/sessions.py",
    "services/propeller/spans.py",
    "services/propeller/waits.py",
    "services/queue/line.py",
)
"""What is compiled, as far as it is there: an image has one service. No module whose coroutines wait for tasks and end
them: compiled, those of `libs/clients` let a leader that was told to stop end with CancelledError."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.native.build", description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "native", help="the new tree (%(default)s)")
    parser.add_argument("--optimize", choices="0123", default="2", help="as the C compiler has it (%(default)s)")
    given = parser.parse_args()
    began = time.monotonic()
    if build(given.into.resolve(), given.optimize):
        print(f"compiled {given.into} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def build(into: Path, optimize: str) -> bool:
    """Makes the tree, whole or not at all; False if it is there already. Raises Refused, and SystemExit where mypyc or
    the C compiler refuses something."""
    if into.exists() and not (into / STAMP).exists():
        raise SystemExit(f"--into: {into} is there and is none of ours")
    wanted = _digest(optimize)
    with _alone(into):
        stamp = into / STAMP
        if stamp.exists() and stamp.read_text() == wanted:
            return False
        if not can_compile():
            raise SystemExit("make native needs a C compiler (cc) and Python's header files: gcc, python3-dev")
        new, old = into.with_name(f"{into.name}.new"), into.with_name(f"{into.name}.old")
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, new / package, ignore=shutil.ignore_patterns("__pycache__"))
        names = modules(new)
        _write_out(new, names)
        _compile(new, names, optimize)
        shutil.rmtree(new / "build")
        (new / STAMP).write_text(wanted)
        if into.exists():
            into.rename(old)
        new.rename(into)
        shutil.rmtree(old, ignore_errors=True)
    return True


def can_compile() -> bool:
    """Whether this machine has a C compiler and Python's header files."""
    return shutil.which("cc") is not None and (Path(sysconfig.get_path("include")) / "Python.h").exists()


@contextmanager
def _alone(into: Path) -> Iterator[None]:
    """Of several who build the same tree one works, and the others find it built."""
    into.parent.mkdir(parents=True, exist_ok=True)
    with into.with_name(f"{into.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def modules(tree: Path) -> list[str]:
    """Which of MODULES are there, as paths in the tree."""
    return [str(path.relative_to(tree)) for pattern in MODULES for path in sorted(tree.glob(pattern))]


def _digest(optimize: str) -> str:
    """What the tree is made from: our code, this script, the compiler, the interpreter."""
    digest = hashlib.sha256(f"{sys.version} {version('mypy')} {optimize} {MODULES}".encode())
    for path in _sources():
        digest.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for folder in (*PACKAGES, "deploy/native"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _look_for_heirs(tree: Path, names: list[str]) -> None:
    """No class that stays Python's may derive from one that becomes C's: it would be refused only when it is made."""
    compiled = {node.name for name in names for node in expand.classes((tree / name).read_text())}
    for path in sorted({*tree.glob("libs/**/*.py"), *tree.glob("services/**/*.py")} - {tree / name for name in names}):
        found = expand.classes(path.read_text())
        own = {node.name for node in found}
        for node in found:
            if heirs := (expand.base_names(node) & compiled) - own:
                where = path.relative_to(tree)
                raise expand.Refused(f"{where}: {node.name} derives from {', '.join(heirs)}, which is compiled")


def _write_out(tree: Path, names: list[str]) -> None:
    """The constructors of dataclasses, in the copy."""
    sources = {name: (tree / name).read_text() for name in names}
    bases = expand.known(sources.values())
    for name, source in sources.items():
        (tree / name).write_text(expand.expand(source, bases))


def _compile(tree: Path, names: list[str], optimize: str) -> None:
    # With what a distribution compiles its Python, a minute goes into warnings, about code that no person wrote.
    sysconfig.get_config_vars()["CFLAGS"] = "-DNDEBUG -fwrapv -w"
    from mypyc.build import mypycify
    from setuptools import setup

    os.chdir(tree)
    extensions = mypycify(
        ["--config-file", str(ROOT / "pyproject.toml"), *_LENIENT, *names],
        only_compile_paths=names,
        opt_level=optimize,
        debug_level="0",
        group_name="airscrew",
    )
    setup(
        name="airscrew-native",
        packages=[],
        ext_modules=extensions,
        script_args=["--quiet", "build_ext", "--inplace", f"--parallel={os.cpu_count() or 1}"],
    )


if __name__ == "__main__":
    sys.exit(main())
