"""Evaluates the Tiltfile without Tilt: Starlark with stubs for Tilt's functions, which record every call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import starlark

BUILTINS: Final = (
    "version_settings",
    "allow_k8s_contexts",
    "docker_build",
    "k8s_yaml",
    "kustomize",
    "k8s_resource",
    "local_resource",
    "link",
    "sync",
    "run",
    "fall_back_on",
)
EXTENSIONS: Final = {
    "ext://restart_process": ("docker_build_with_restart",),
    "ext://uibutton": ("cmd_button", "text_input"),
}
"""Functions of Tilt's extensions, by where they are loaded from."""


@dataclass(frozen=True)
class Call:
    """One call of a function of Tilt's."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass
class Tiltfile:
    """Everything that a Tiltfile asks of Tilt, in order."""

    calls: dict[str, list[Call]] = field(default_factory=dict)

    def of(self, *names: str) -> list[Call]:
        """The calls of some functions."""
        return [call for name in names for call in self.calls.get(name, ())]


def evaluate(path: Path) -> Tiltfile:
    """Runs the file. Raises `starlark.StarlarkError` for what Tilt would refuse: an unknown name, a wrong literal."""
    found = Tiltfile()

    def recorder(name: str) -> Callable[..., Any]:
        def record(*args: Any, **kwargs: Any) -> Any:
            found.calls.setdefault(name, []).append(Call(args, kwargs))
            return {"called": name, "args": list(args)}

        return record

    def load(name: str) -> Any:
        module = starlark.Module()
        for function in EXTENSIONS[name]:
            module.add_callable(function, recorder(function))
        return module.freeze()

    dialect = starlark.Dialect.extended()
    dialect.enable_top_level_stmt = True
    module = starlark.Module()
    for name in BUILTINS:
        module.add_callable(name, recorder(name))
    module["TRIGGER_MODE_MANUAL"] = "manual"
    parsed = starlark.parse(path.name, path.read_text(), dialect)
    starlark.eval(module, parsed, starlark.Globals.extended_by([]), starlark.FileLoader(load))
    return found
