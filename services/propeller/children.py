"""Between executions and those that their launch plan nodes have launched: the end of a child is told to its parent.

Both live in the same shard, so under the same leader. A child that ends under this leader tells its parent as soon as
its end is durable, whether the parent is in memory or not; so does one that was quarantined, when the turn that follows
finds it final. One that ended without telling, because its leader was lost just then, is found by its parent, which
asks when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from libs.store.records import Final
from libs.workflow.machine import messages as m
from libs.workflow.state import ExecutionState
from services.propeller.library import Library
from services.propeller.lookups import Lookups
from services.propeller.store import LeaderStore


class _Question(NamedTuple):
    """Is this child final?"""

    parent_key: int
    node_id: str
    child_key: int


class Children:
    """Tells parents of ends."""

    def __init__(
        self,
        store: LeaderStore,
        library: Library,
        tell: Callable[[int, m.Event], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store = store
        self._library = library
        self._tell = tell
        self._lookups: Lookups[_Question, Final] = Lookups("look-up-children", self._read, self._answer, spawn)

    def look_up(self, parent_key: int, command: m.LookUpChild) -> None:
        """Tells the parent if the child is final. One that is in memory is not, and will tell when it is."""
        if self._library.get(command.child_key) is None:
            self._lookups.ask(_Question(parent_key, command.node_id, command.child_key))

    def ended(self, child: ExecutionState) -> None:
        """An execution is final: if a node waits for it, it is told."""
        if child.parent_key is not None and child.parent_node_id:
            event = m.ChildEnded(child.parent_node_id, child.key, child.phase, child.outputs, child.error)
            self._tell(child.parent_key, event)

    async def _read(self, questions: Sequence[_Question]) -> Mapping[_Question, Final]:
        found = await self._store.finals(list({question.child_key for question in questions}))
        return {question: found[question.child_key] for question in questions if question.child_key in found}

    def _answer(self, question: _Question, final: Final | None, trouble: str) -> None:
        """Trouble is in the log; the child tells when it ends."""
        if final is not None:
            event = m.ChildEnded(question.node_id, question.child_key, final.phase, final.outputs, final.error)
            self._tell(question.parent_key, event)
