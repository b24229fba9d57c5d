"""What may go: by policy, and because nothing depends on it.

A family (a head and all it has launched) goes when its head ended long enough ago, all of it has ended, the cache has
no outputs of it, and whoever holds it (`libs.store.holds`) goes too. The retention is given, the rest is read; nothing
is changed here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from libs.store.garbage import Finished, Garbage, Head, without_held
from services.propeller.garbage.retention import Retention

BEGINNING = Finished(-1, -1)
ALL_TIME = 2**62


@dataclass(slots=True)
class Checked:
    """Heads by what is to become of them, and the families of those that may go."""

    free: set[int] = field(default_factory=set)
    recent: set[int] = field(default_factory=set)
    """Kept by the policy."""
    live: set[int] = field(default_factory=set)
    """Something that they launched has not ended."""
    cached: set[int] = field(default_factory=set)
    """The cache has outputs of them."""
    held: set[int] = field(default_factory=set)
    """Something that is kept depends on them."""
    families: dict[int, list[int]] = field(default_factory=dict)

    @property
    def staying(self) -> set[int]:
        return self.recent | self.live | self.cached

    def add(self, other: Checked) -> None:
        for name in ("free", "recent", "live", "cached", "held"):
            getattr(self, name).update(getattr(other, name))
        self.families.update(other.families)

    def hold(self, heads: Collection[int]) -> None:
        """These stay for others."""
        self.free.difference_update(heads)
        self.held.update(heads)


def cutoffs(garbage: Garbage, retention: Retention, now_us: int) -> dict[str, int]:
    """By project, the time before which a head must have ended to go; projects of which nothing goes are left out."""
    found = {}
    for project in garbage.projects():
        limits = [retention.ended_before_us(project, now_us)]
        most = retention.most(project)
        if most is not None:
            last = garbage.newest(project, most - 1)
            limits.append(last)
        times = [limit for limit in limits if limit is not None]
        if times:
            found[project] = max(times)
    return found


def check(garbage: Garbage, heads: Collection[int], cutoffs: Mapping[str, int]) -> Checked:
    """Everything about heads but who holds them."""
    return _check(garbage, garbage.heads(heads).values(), cutoffs)


def _check(garbage: Garbage, heads: Collection[Head], cutoffs: Mapping[str, int]) -> Checked:
    found = Checked()
    old = {head.key for head in heads if _is_old(head, cutoffs)}
    found.recent = {head.key for head in heads} - old
    found.families = garbage.families(old)
    owner = {key: head for head, keys in found.families.items() for key in keys}
    found.live = {owner[key] for key in garbage.live(owner)}
    found.cached = {owner[key] for key in garbage.cached(owner)} - found.live
    found.free = old - found.live - found.cached
    return found


def check_together(
    garbage: Garbage, heads: Collection[int], cutoffs: Mapping[str, int], marked_before_us: int, most: int
) -> Checked:
    """As `check`, and who holds them. Marked holders that may go too are drawn in, up to `most` in all, so that what
    depends on each other goes at once.
    """
    found = check(garbage, heads, cutoffs)
    holders: dict[int, set[int]] = {}
    new = set(found.free)
    while new:
        holders.update(garbage.holders(new))
        outside = {holder for head in new for holder in holders.get(head, ())} - found.free - found.staying
        marked = [
            head
            for head in garbage.heads(outside).values()
            if head.marked_at_us is not None and head.marked_at_us <= marked_before_us
        ]
        drawn = _check(garbage, marked[: max(0, most - len(found.free))], cutoffs)
        new = drawn.free - found.free
        found.add(drawn)
    found.hold(found.free - without_held(found.free, holders))
    return found


def to_mark(
    garbage: Garbage, shard: int, project: str, before_us: int, after: Finished, limit: int, cutoffs: Mapping[str, int]
) -> tuple[Sequence[Finished], Checked]:
    """The next heads of a project that are old enough, and what was found out about them.

    Of holders it is only asked whether they are old too: more is seen when those that are marked go.
    """
    page = garbage.finished(shard, project, before_us, after, limit)
    found = check(garbage, [head.key for head in page], cutoffs)
    holders = garbage.holders(found.free)
    others = garbage.heads({holder for by in holders.values() for holder in by})
    kept = {key for key, head in others.items() if not _is_old(head, cutoffs)}
    found.hold({head for head, by in holders.items() if by & kept})
    return page, found


def _is_old(head: Head, cutoffs: Mapping[str, int]) -> bool:
    return head.ended_at_us is not None and head.ended_at_us < cutoffs.get(head.project, -1)
