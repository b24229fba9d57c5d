"""How long finished executions and cached outputs are kept, by project.

Everything is kept for ever unless an operator says otherwise. `*` speaks for all projects that are not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

FOREVER = "forever"
EVERYBODY = "*"
DAY_US = 86_400_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retention:
    """The operator's limits; None is for ever."""

    days: Mapping[str, float | None] = field(default_factory=dict)
    """Since their end."""
    executions: Mapping[str, int | None] = field(default_factory=dict)
    """The last ones to end; what they have launched goes with them."""
    cache_days: Mapping[str, float | None] = field(default_factory=dict)
    """Since their last use."""

    @property
    def enabled(self) -> bool:
        """Whether anything ever goes."""
        limits = (*self.days.values(), *self.executions.values(), *self.cache_days.values())
        return any(limit is not None for limit in limits)

    def ended_before_us(self, project: str, now_us: int) -> int | None:
        """The time before which an execution must have ended to be too old; None where age does not matter."""
        return _before(_of(self.days, project), now_us)

    def most(self, project: str) -> int | None:
        """How many finished executions of a project are kept; None for all."""
        return _of(self.executions, project)

    def used_before_us(self, project: str, now_us: int) -> int | None:
        """The time before which cached outputs must have been used for the last time to go."""
        named = project in self.cache_days or EVERYBODY in self.cache_days
        return _before(_of(self.cache_days if named else self.days, project), now_us)

    def describe(self) -> Mapping[str, Mapping[str, str]]:
        """What was said, as it was said."""
        return {
            name: {project: FOREVER if limit is None else f"{limit:g}" for project, limit in sorted(limits.items())}
            for name, limits in (
                ("retention_days", self.days),
                ("retention_executions", self.executions),
                ("cache_retention_days", self.cache_days),
            )
            if limits
        }


def _of(limits: Mapping[str, T | None], project: str) -> T | None:
    return limits[project] if project in limits else limits.get(EVERYBODY)


def _before(days: float | None, now_us: int) -> int | None:
    return None if days is None else now_us - round(days * DAY_US)
