"""What runs here and the highest epoch seen: written before it is acted upon, read once at the start.

It need not survive a power cut, only the death of the executor: a machine that restarts has no processes left over. So
nothing here waits for the disk.

A restarted executor reaps what its former life has left before it takes work. It does not report those attempts: the
leader fails them because the incarnation is new. But it remembers their numbers, because a number that was started
once is never started again (promise P4).

It also says which they are, and of which life: whatever else was assigned to that life had not begun, and costs its
workflow no retry. That is known as long as nothing begins which the journal does not take, and the machine has not been
restarted since (`former`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.workflow.identity import AttemptId
from services.executor import processes, recordlog
from services.executor.processes import ProcessId

logger = logging.getLogger(__name__)

_EPOCH = "epoch/"
_ATTEMPT = "attempt/"
_LIFE = "life"


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt that an earlier life of this executor had begun."""

    id: AttemptId
    supervisor: ProcessId | None
    """None when it died before the process was started, or when that is found by its environment."""


class Journal:
    """Opening reads what the last life has written; `lost` is what it had not ended."""

    def __init__(
        self, path: Path, incarnation: str, open_log: Callable[[Path], recordlog.RecordLog] = recordlog.RecordLog
    ) -> None:
        """`incarnation` names the life that begins."""
        self._log = open_log(path)
        self._epochs: dict[int, int] = {}
        self.incarnation = incarnation
        self.former = ""
        """The incarnation before, if `lost` is all that it had begun and not ended."""
        boot = processes.boot_id()
        lost = []
        for key, value in self._log.entries.items():
            text = key.decode()
            if text.startswith(_EPOCH):
                self._epochs[int(text.removeprefix(_EPOCH))] = int(value)
            elif text == _LIFE:
                former, _, its_boot = value.decode().partition(" ")
                self.former = former if its_boot == boot else ""
            else:
                lost.append(Lost(_attempt(text), ProcessId.parse(value.decode()) if value else None))
        self.lost = tuple(lost)
        self._unsaid: dict[str, str | None] = {_LIFE: f"{incarnation} {boot}"}
        """Whose life it is: written no later than anything that happens in it."""
        self._write({})

    def epoch(self, shard: int) -> int:
        """The highest epoch of `shard` that a leader has shown; 0 when none has."""
        return self._epochs.get(shard, 0)

    def raise_epoch(self, shard: int, epoch: int) -> None:
        if epoch > self.epoch(shard):
            self._epochs[shard] = epoch
            self._write({f"{_EPOCH}{shard}": str(epoch)})

    def begin(self, id: AttemptId) -> bool:
        """It is accepted: from now on its number is used. False when the disk refuses: it may not begin then."""
        return self._write({_key(id): ""})

    def started(self, id: AttemptId, supervisor: ProcessId | None) -> None:
        """The process that answers for an attempt; None: what runs is found by its environment."""
        if supervisor is not None:
            self._write({_key(id): str(supervisor)})

    def end(self, *ids: AttemptId) -> None:
        """No process of these attempts is left."""
        if ended := {key: None for key in map(_key, ids) if key.encode() in self._log.entries}:
            self._write(ended)

    async def reap(self, *roots: Path) -> None:
        """Ends every process that an earlier life has left: all that have one of `roots` in their environment.

        Forgets the attempts (`lost` still names them).
        """
        supervisors = tuple(each.supervisor for each in self.lost if each.supervisor is not None)
        if not all([await processes.end_all(root, supervisors) for root in roots]):
            logger.error("processes of an earlier life do not end; they may hold memory and gpus")
        for each in self.lost:
            logger.warning("attempt %s/%s/%d was under way when an earlier life of this executor ended", *each.id)
            self.end(each.id)

    def close(self) -> None:
        self._log.close()

    def _write(self, changes: Mapping[str, str | None]) -> bool:
        changes = {**self._unsaid, **changes}
        try:
            # A short append to the page cache: not worth a thread.
            self._log.append(
                [(key.encode(), None if value is None else value.encode()) for key, value in changes.items()],
                sync=False,
            )
        except OSError as error:
            logger.error("the journal cannot be written: %s", error)
            return False
        self._unsaid = {}
        return True


def _key(id: AttemptId) -> str:
    return f"{_ATTEMPT}{id.execution}/{id.node}/{id.attempt}"


def _attempt(key: str) -> AttemptId:
    execution, node, attempt = key.removeprefix(_ATTEMPT).rsplit("/", 2)
    return AttemptId(int(execution), node, int(attempt))
