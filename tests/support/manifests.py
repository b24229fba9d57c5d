"""The manifests as `kubectl kustomize` renders them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
OVERLAYS: Final = ("dev", "dev-pods", "prod", "prod-tls")

Object = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """Everything that an overlay applies."""

    objects: tuple[Object, ...]

    def of(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object | None:
        """A ConfigMap or Secret may have a hash after its name, which references have too."""
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    def workloads(self) -> list[Object]:
        return self.of("Deployment", "StatefulSet", "Job")

    def ours(self) -> list[Object]:
        """The workloads that run our images."""
        return [each for each in self.workloads() if _component(each) in (*SERVICES, "migrate")]

    def service(self, component: str) -> Object:
        """The workload of a service."""
        return next(each for each in self.ours() if _component(each) == component)

    def pods(self, selector: dict[str, str]) -> list[Object]:
        """The workloads whose pods have these labels."""
        return [
            each
            for each in self.workloads()
            if selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]

    def environment(self, container: Object) -> Iterator[tuple[str, str | None]]:
        """The variables of a container; None for the value of a Secret that is not rendered."""
        for source in container.get("envFrom", ()):
            (kind, reference), *_ = source.items()
            found = self.named({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"])
            if found is None:
                assert reference.get("optional"), f"{kind} {reference['name']} is nowhere"
            elif kind == "configMapRef":
                yield from found["data"].items()
            else:
                yield from dict.fromkeys(found["data"]).items()
        for variable in container.get("env", ()):
            yield variable["name"], self._value(variable)

    def _value(self, variable: Object) -> str | None:
        if "value" in variable:
            return str(variable["value"])
        source = variable["valueFrom"]
        if "fieldRef" in source:
            return "10.0.0.1"
        if "secretKeyRef" in source:
            return None
        if "resourceFieldRef" in source:
            return "1000"
        config = self.named("ConfigMap", source["configMapKeyRef"]["name"])
        assert config is not None, f"{variable['name']}: there is no {source}"
        return str(config["data"][source["configMapKeyRef"]["key"]])


SERVICES: Final = ("admin", "queue", "propeller", "executor")


def _component(workload: Object) -> str:
    return str(workload["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


@cache
def rendered(overlay: str) -> Rendered:
    """Renders an overlay, once."""
    return render(ROOT / "deploy/k8s/overlays" / overlay)


def render(folder: Path) -> Rendered:
    """Renders a folder that has a kustomization."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return Rendered(tuple(yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
