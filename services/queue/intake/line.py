"""An intake's list or stream in Redis, and what is kept beside it.

An item is claimed, then either done or given up; nothing else takes it out of Redis. Claiming and settling are one step
each, so that an item is always in exactly one place: waiting, claimed, or among the dead.

Whether a request whose reply was lost has been carried out is unknown here. So the caller asks what is claimed
(`recover`) and goes on from there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from libs.workflow.intake import DeadItem, Intake, Kind, Progress
from services.queue.intake import scripts

_REPLAYED: Final = 100
"""Items that one step replays."""


class Claim(NamedTuple):
    """An item that is ours to settle."""

    id: str
    item: bytes
    flaw: str
    """Why there is nothing to decode; empty as a rule."""


class Superseded(Exception):
    """Another one takes in now."""


class Line:
    """One intake's place in Redis, as one who wants to take in (`runner`) sees it.

    Every method raises Unavailable when Redis does not answer and FailedPrecondition when it refuses.
    """

    def __init__(self, intake: Intake, passwords: Mapping[str, str], runner: str = "") -> None:
        self._intake = intake
        self._where = where = intake.where
        self._runner = runner
        self._kind = intake.kind.value
        self._group = f"airscrew:{intake.id}"
        prefix = f"airscrew:{{{where.key}}}:{intake.id}"
        self._keys = [where.key, *(f"{prefix}:{name}" for name in scripts.KEYS)]
        self._dead = f"{prefix}:dead"
        self._last = "0"
        # Not at the top: a queue without intakes needs no Redis, whose client takes 9 MB.
        from services.queue.intake.connection import Connection

        self._connection = Connection(intake, passwords)

    async def close(self) -> None:
        await self._connection.close()

    # ------------------------------------------------------------------------------------------------------ taking in

    async def hold(self, seconds: float, status: str) -> bool:
        """Whether we are the one who takes in, from now on for so long."""
        return bool(await self._run(scripts.HOLD, self._runner, int(seconds * 1000), status))

    async def release(self) -> None:
        """Somebody else may take in at once."""
        await self._run(scripts.RELEASE, self._runner)

    async def recover(self) -> Sequence[Claim]:
        """All that is claimed and not settled, the oldest first. Raises Superseded."""
        found = await self._run(scripts.RECOVER, self._runner, self._kind, self._group, self._intake.field)
        if found is None:
            raise Superseded
        return sorted(_claims(found), key=lambda claim: [int(part) for part in claim.id.split("-")])

    async def claim(self, count: int) -> Sequence[Claim]:
        """Up to so many items, the oldest first; those to be replayed before all others. Raises Superseded."""
        asked = (self._runner, count, self._kind, self._group, self._intake.field)
        found = await self._run(scripts.CLAIM, *asked)
        if found is None:
            raise Superseded
        self._last = found[0].decode() or self._last
        return list(_claims(found[1]))

    async def wait(self, seconds: float) -> None:
        """Returns when the source has something to claim, or after so long."""
        key = self._where.key
        async with self._connection.asked():
            if self._intake.kind is Kind.LIST:
                # From its head to its head: nothing moves, and it answers as soon as there is something.
                await self._connection.redis.execute_command("BLMOVE", key, key, "LEFT", "LEFT", seconds)  # type: ignore[no-untyped-call]
            else:
                await self._connection.redis.xread({key: self._last}, count=1, block=int(seconds * 1000))

    async def done(self, claims: Sequence[str]) -> None:
        """Their executions are durable."""
        await self._run(scripts.DONE, self._kind, self._group, *claims)

    async def failed(self, claim: str) -> int:
        """The execution could not be created; how often that was."""
        return int(await self._run(scripts.FAILED, claim))

    async def bury(self, claim: Claim, reason: str, now_us: int) -> None:
        """The item is given up."""
        encodable = reason.encode(errors="replace").decode()
        document = _document(DeadItem(claim.id, claim.item, encodable, now_us))
        await self._run(scripts.BURY, self._kind, self._group, claim.id, document)

    # ---------------------------------------------------------------------------------------------------- looking on

    async def progress(self) -> Progress:
        """How far it is."""
        waiting, claimed, done, dead, status, runner = await self._run(scripts.PROGRESS, self._kind, self._group)
        said = json.loads(status) if status else {}
        return Progress(
            waiting=None if waiting < 0 else waiting,
            claimed=claimed,
            done=done,
            dead=dead,
            rate=said.get("rate", 0.0),
            runner=runner.decode(),
            note=said.get("note", ""),
        )

    async def dead(self, limit: int) -> Sequence[DeadItem]:
        """The oldest that were given up."""
        return [_dead(document) for document in await self._documents(limit)]

    async def replay(self, limit: int) -> int:
        """Lets up to so many that were given up, all for 0, be taken in once more; how many those are."""
        replayed = 0
        while not limit or replayed < limit:
            some = await self._documents(min(_REPLAYED, limit - replayed) if limit else _REPLAYED)
            if not some:
                break
            arguments: list[str | bytes] = []
            for document in some:
                dead = _dead(document)
                arguments += (document, dead.claim, dead.item)
            replayed += await self._run(scripts.REPLAY, *arguments)
        return replayed

    async def _documents(self, limit: int) -> list[bytes]:
        async with self._connection.asked():
            found: list[bytes] = await self._connection.redis.lrange(self._dead, 0, limit - 1)  # type: ignore[misc]
            return found

    async def _run(self, script: str, *arguments: str | bytes | int) -> Any:
        async with self._connection.asked():
            return await self._connection.redis.register_script(script)(keys=self._keys, args=arguments)


def _claims(found: Sequence[bytes]) -> Iterator[Claim]:
    for position in range(0, len(found), 3):
        id, item, flaw = found[position : position + 3]
        yield Claim(id.decode(), item, flaw.decode(errors="replace"))


def _document(dead: DeadItem) -> str:
    """For people who look at the list itself: the item as text if it is one."""
    try:
        item = {"item": dead.item.decode()}
    except UnicodeDecodeError:
        item = {"item_base64": base64.b64encode(dead.item).decode()}
    return json.dumps({"claim": dead.claim, "reason": dead.reason, "at_us": dead.at_us, **item}, ensure_ascii=False)


def _dead(document: bytes) -> DeadItem:
    said = json.loads(document)
    item = said["item"].encode() if "item" in said else base64.b64decode(said["item_base64"])
    return DeadItem(said["claim"], item, said["reason"], said["at_us"])
