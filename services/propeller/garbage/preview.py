"""What the garbage collector would do, and why what is old enough stays: nothing is changed.

Everything is bounded: very many executions are counted up to a limit, and the blobs of some of them are measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.blob import BlobStore, Usage
from libs.store.garbage import Garbage, without_held
from services.propeller.garbage import candidates
from services.propeller.garbage.candidates import ALL_TIME, BEGINNING, Checked
from services.propeller.garbage.collector import places_of
from services.propeller.garbage.retention import Retention
from services.propeller.garbage.store import GarbageStore

LOOKED_AT = 20_000
"""Heads of a project that are looked at."""
MEASURED = 200
"""Executions of a project whose blobs are measured."""
MEASURING_SECONDS = 5.0
"""How long that may take, for each project."""
_PAGE = 500


@dataclass(slots=True)
class Preview:
    """Of one project. Heads are executions that nobody has launched; what they have launched goes with them."""

    project: str
    heads: int = 0
    """That may go."""
    executions: int = 0
    """With all that they have launched."""
    live: int = 0
    """Heads that stay because something that they launched has not ended."""
    cached: int = 0
    """Heads that stay because the cache has outputs of them."""
    held: int = 0
    """Heads that stay because an execution that is kept depends on them."""
    more: bool = False
    """Whether there are more than were looked at."""
    measured: int = 0
    """Executions whose blobs were measured."""
    usage: Usage = field(default_factory=Usage)


class _Found(NamedTuple):
    project: str
    checked: Checked
    more: bool


async def preview(
    store: GarbageStore, blob: BlobStore, retention: Retention, shard: int, now_us: int
) -> Sequence[Preview]:
    """What would go of each project of which something is old enough."""
    cutoffs = await store.read(candidates.cutoffs, retention, now_us)
    found = [await store.read(_look, shard, project, cutoffs) for project in cutoffs]
    await store.read(_hold_back, shard, [each.checked for each in found])
    return [await _measured(store, blob, each) for each in found if each.checked.families]


def _look(garbage: Garbage, shard: int, project: str, cutoffs: Mapping[str, int]) -> _Found:
    found, after, looked = Checked(), BEGINNING, 0
    while looked < LOOKED_AT:
        page, checked = candidates.to_mark(garbage, shard, project, cutoffs[project], after, _PAGE, cutoffs)
        found.add(checked)
        looked += len(page)
        if len(page) < _PAGE:
            return _Found(project, found, False)
        after = page[-1]
    return _Found(project, found, True)


def _hold_back(garbage: Garbage, shard: int, found: Sequence[Checked]) -> None:
    """Who is held by what stays, stays too. What is marked already is thought to go."""
    heads = {head for each in found for head in each.free}
    marked = set(garbage.marked(shard, ALL_TIME, 0, LOOKED_AT))
    free = without_held(heads | marked, garbage.holders(heads | marked))
    for each in found:
        each.hold(each.free - free)


async def _measured(store: GarbageStore, blob: BlobStore, found: _Found) -> Preview:
    checked = found.checked
    keys = [key for head in sorted(checked.free) for key in checked.families[head]]
    seen = Preview(
        found.project,
        heads=len(checked.free),
        executions=len(keys),
        live=len(checked.live),
        cached=len(checked.cached),
        held=len(checked.held),
        more=found.more,
    )
    members = await store.read(Garbage.members, keys[:MEASURED])
    try:
        async with asyncio.timeout(MEASURING_SECONDS):
            for member in members:
                sizes = [await blob.measure(uri) for uri in places_of(blob.root, member)]
                seen.usage = Usage(*map(sum, zip(seen.usage, *sizes, strict=True)))
                seen.measured += 1
    except TimeoutError:
        pass  # what was measured is said, and of how many
    return seen
