"""The cluster as `kubectl` shows it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.manifests import ROOT

_COMMAND_SECONDS: Final = 300.0


class Kube:
    """kubectl, for one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self._options = [f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]

    def __call__(self, *arguments: str, told: str | None = None) -> str:
        """What it prints when it is told this; fails with its errors."""
        command = [str(ROOT / ".venv/bin/kubectl"), *self._options, *arguments]
        done = subprocess.run(
            command, input=told, capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def get(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a kind, with these labels."""
        found = json.loads(self("get", kind, f"--selector={selector}", "--output=json"))
        items: list[dict[str, Any]] = found["items"]
        return items

    def pods(self, component: str) -> list[str]:
        """The names of a service's pods that are not about to go."""
        pods = self.get("pod", f"app.kubernetes.io/component={component}")
        return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def not_ready(self) -> list[str]:
        """The pods that are neither ready nor done, but for those of tasks."""
        return [
            pod["metadata"]["name"]
            for pod in self.get("pod", "!airscrew/executor")
            if pod["status"]["phase"] != "Succeeded"
            and not any(
                each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ())
            )
        ]

    def rolled_out(self, workload: str, timeout_seconds: int = 180) -> None:
        """Returns when every replica is of the newest revision and ready."""
        self("rollout", "status", workload, f"--timeout={timeout_seconds}s")


def until(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Returns as soon as the condition holds; fails with `what` did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.3)
