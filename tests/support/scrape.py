"""What Prometheus would find at a process: names, labels and values, read by Prometheus's own parser."""

from __future__ import annotations

import socket
import urllib.request
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

SERVICES: Final = ("admin", "queue", "propeller", "executor")


@dataclass(frozen=True)
class Page:
    """What one process tells at a moment."""

    labels: dict[str, set[str]] = field(default_factory=dict)
    """By family as Prometheus's queries name it (`x_total` for a counter): the labels of its series."""
    values: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series of a name that have these labels."""
        return sum(
            value for (series, about), value in self.values.items() if series == name and labels.items() <= set(about)
        )


def scrape(port: int) -> Page:
    """Reads the page of the process that listens there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    page = Page()
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            page.labels.setdefault(name, set()).update(sample.labels.keys() - {"le"})
            page.values[sample.name, frozenset(sample.labels.items())] = sample.value
    return page


def ports() -> dict[str, int]:
    """A free port for each service."""
    sockets = {service: socket.create_server(("127.0.0.1", 0)) for service in SERVICES}
    try:
        return {service: each.getsockname()[1] for service, each in sockets.items()}
    finally:
        for each in sockets.values():
            each.close()


def settings(ports: dict[str, int]) -> dict[str, str]:
    """Has each service answer at its port."""
    return {f"AIRSCREW_{service.upper()}_METRICS_LISTEN": f"127.0.0.1:{port}" for service, port in ports.items()}
