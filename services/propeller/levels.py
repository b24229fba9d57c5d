"""How much there is of what, as gauges: FlytePropeller's level monitor and execution-stats monitor.

* `airscrew.executions.live`: what is accepted and not final, by project, domain and phase. From the store, for it also
  knows what no turn has been given yet: what waits behind a pause, or has just been taken over.
* `airscrew.workflows.active`, `.nodes.active`, `.tasks.active`: what the leader works at, from its memory, where nobody
  knows better. Attempts of `@eager` tasks are not counted, as for `max_parallelism`: they only wait.

Nothing is counted in a turn. Every few seconds a leader looks, and what it finds replaces what it found before, as a
whole: the thread that sends reads it at any time. A series that was told once is told for as long as the process lives,
with zero when there is nothing left of it, or when this replica leads no more: somebody else tells of it then. While
the store is away nothing is told of what only the store knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Final

from libs.telemetry.metrics import Kind, Level, Metering, Metric, Names
from libs.workflow.errors import AirscrewError
from libs.workflow.phases import ExecutionPhase
from services.propeller.library import Library
from services.propeller.store import LeaderStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How old a level is at most, give or take: FlytePropeller's is 5 s for the one monitor, 10 s for the other."""

EXECUTIONS: Final = Metric(
    "airscrew.executions.live",
    Kind.GAUGE,
    "{execution}",
    "Executions that are not final",
    ("flyte.project", "flyte.domain", "flyte.execution.phase", "airscrew.shard"),
)
ACTIVE: Final = (
    Metric(
        "airscrew.workflows.active",
        Kind.GAUGE,
        "{execution}",
        "Executions that the leader has in memory",
        ("airscrew.shard",),
    ),
    Metric("airscrew.nodes.active", Kind.GAUGE, "{node}", "Nodes that have begun and not ended", ("airscrew.shard",)),
    Metric(
        "airscrew.tasks.active", Kind.GAUGE, "{attempt}", "Attempts that wait for a slot or run", ("airscrew.shard",)
    ),
)
METRICS: Final = (EXECUTIONS, *ACTIVE)

Series = tuple[str, str, ExecutionPhase]
"""Project, domain and phase."""


class Levels:
    """What this replica tells of one shard, in all of its terms."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._executions: Mapping[Series, int] = {}
        self._known: frozenset[Series] = frozenset()
        """Everything that was ever told."""
        self._projects = Names()
        self._away = False
        self._active: tuple[int, int, int] | None = None
        """Executions, nodes and attempts; None before the first look."""

    def tell_executions(self, found: Mapping[Series, int] | None) -> None:
        """What the store has; None when it is away."""
        self._away = found is None
        if found is not None:
            told: dict[Series, int] = dict.fromkeys(self._known, 0)
            for (project, domain, phase), count in found.items():
                series = (self._projects.of(project), domain, phase)
                told[series] = told.get(series, 0) + count
            self._known |= told.keys()
            self._executions = told

    def tell_active(self, executions: int, nodes: int, tasks: int) -> None:
        self._active = (executions, nodes, tasks)

    def tell_nothing(self) -> None:
        """This replica leads no more."""
        self.tell_executions({})
        if self._active is not None:
            self.tell_active(0, 0, 0)

    def executions(self) -> Iterable[Level]:
        """What is shown of executions."""
        return () if self._away else [self._level(*each) for each in self._executions.items()]

    def _level(self, kind: Series, count: int) -> Level:
        project, domain, phase = kind
        return Level(
            count,
            {
                "airscrew.shard": self._shard,
                "flyte.project": project,
                "flyte.domain": domain,
                "flyte.execution.phase": phase.name,
            },
        )

    def active(self, number: int) -> Iterable[Level]:
        """What is shown of executions (0), nodes (1) or attempts (2) that are worked at."""
        active = self._active
        return () if active is None else (Level(active[number], {"airscrew.shard": self._shard}),)


def show(metering: Metering, levels: Collection[Levels]) -> None:
    """Has whoever collects metrics read the levels of all shards."""
    metering.observe(EXECUTIONS, lambda: chain.from_iterable(each.executions() for each in levels))
    for number, metric in enumerate(ACTIVE):
        metering.observe(metric, partial(_active, levels, number))


def _active(levels: Collection[Levels], number: int) -> Iterable[Level]:
    return chain.from_iterable(each.active(number) for each in levels)


class Monitor:
    """Looks after the levels during one term."""

    def __init__(self, levels: Levels, store: LeaderStore, library: Library, shard: int) -> None:
        self._levels = levels
        self._store = store
        self._library = library
        self._shard = shard

    async def watch(self) -> None:
        """Looks every now and then. The first look is not at once: a new leader has more urgent questions."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                await self.look()
        finally:
            self._levels.tell_nothing()

    async def look(self) -> None:
        executions = self._library.all()
        self._levels.tell_active(
            len(self._library),
            sum(len(execution.live) for execution in executions),
            sum(execution.running for execution in executions),
        )
        try:
            self._levels.tell_executions(await self._store.levels(self._shard))
        except AirscrewError as error:
            logger.warning("how many executions there are is not known: %s", error.message)
            self._levels.tell_executions(None)
