"""An attempt that is a pod, from its assignment to its outcome, in named phases:

    prepare   the inputs go to the blob store, the pod is put together
    create    the cluster takes it, perhaps after a wait for quota
    process   it is watched: INITIALIZING ends and RUNNING begins with its container
    finish    its log and its files are read and judged

The pod outlives the executor: what is needed to go on with it is written on it (`record`), and the next life of the
executor adopts it in phase `process`. Reports of an adopted attempt have numbers above those of every life before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flyteidl.core import tasks_pb2

from libs.blob import layout
from libs.runtime import together
from libs.runtime.backoff import Backoff
from libs.wire.session import Assignment, Report, ReportPhase
from libs.workflow import errors
from services.executor import outcome, results, templates
from services.executor.attempt import Attempt, Left, Workbench
from services.executor.copilot import failure
from services.executor.outcome import Outcome
from services.executor.pods import datafiles, manifest, observe, record, refusals
from services.executor.pods.cluster import Object
from services.executor.pods.fleet import Fleet
from services.executor.pods.observe import Observation, Stage
from services.executor.pods.refusals import Refused, Unreachable
from services.executor.runner import Exit
from services.executor.slots import Grant

logger = logging.getLogger(__name__)

_TEMPLATE: Final = "task.pb"
_LOOK_AGAIN_SECONDS: Final = 5.0
"""After a look that the cluster did not answer."""
_AGAIN_SECONDS: Final = (0.2, 20.0)
_ADOPTED_SEQ: Final = 1 << 16
_ADOPTED_LAST_SEQ: Final = 1 << 31
"""An attempt has one end only: it may have one number in whatever life it comes."""


class PodAttempt(Attempt):
    """Runs the task's pod, or goes on with one that is there."""

    def __init__(
        self,
        fleet: Fleet,
        bench: Workbench,
        assignment: Assignment,
        template: tasks_pb2.TaskTemplate,
        grant: Grant,
        say: Callable[[Report], None],
        found: Object | None = None,
    ) -> None:
        super().__init__(bench, assignment, template, grant, say)
        self._fleet = fleet
        self._name = record.pod_name(assignment) if found is None else found["metadata"]["name"]
        self._followed = fleet.informer.follow(self._name)
        self._primary = "" if found is None else record.primary_of(found)
        self._is_there = found is not None
        self._adopted = found is not None
        self._is_left = False
        self._stage = Stage.QUEUED
        self.stage = "waiting"
        self._told: list[str] = []
        if found is not None:
            age = bench.clock.now_us() - observe.moment_us(found["metadata"].get("creationTimestamp"))
            self.latest = replace(self.latest, seq=_ADOPTED_SEQ + max(age // 1_000_000, 0))

    # ------------------------------------------------------------------------------------------------------- its life

    async def _work(self) -> Outcome:
        if not self._adopted and (end := await self._launch()) is not None:
            return end
        with self._span("process"):
            seen = await self._watch()
        with self._span("finish"):
            return await self._finish(seen)

    def _obey_wish(self) -> None:
        self._followed.wake()

    def leave(self) -> bool:
        """The pod goes on without us, if there is one and nobody wants it to end."""
        if not self._is_there or self._wish is not None:
            return False
        self._is_left = True
        self._followed.wake()
        return True

    async def abandon(self) -> None:
        await self._remove()

    async def clean_up(self) -> None:
        """The pod goes; that of a failed attempt may stay for a while, if nothing of it runs."""
        self._fleet.informer.forget(self._name)
        self._fleet.logs.forget(self._name)
        pod = self._followed.pod
        if self.latest.phase is ReportPhase.FAILED and pod is not None and observe.is_over(pod):
            self._fleet.reaper.keep(self._name)
        elif self._is_there:
            self._fleet.reaper.remove(self._name)

    def final(self, end: Outcome) -> Report:
        if self._adopted:
            self.latest = replace(self.latest, seq=_ADOPTED_LAST_SEQ)
        return super().final(end)

    # --------------------------------------------------------------------------------------------- prepare and create

    async def _launch(self) -> Outcome | None:
        """Prepares the pod and creates it. Returns how it has ended, if it has."""
        try:
            with self._span("prepare"):
                pod = await together.unless(self._wished, "prepare attempt", self._prepare())
            with self._span("create"):
                return await together.unless(self._wished, "create pod", self._create(pod))
        except together.Interrupted:
            await self._remove()  # it may have been created, though nobody said so
            return self._wish or outcome.aborted("")
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)

    async def _prepare(self) -> Object:
        assignment, storage = self._assignment, self._bench.storage
        base = await self._base()
        draft = manifest.draft(assignment, self._template, base)
        inputs_uri = assignment.inputs.uri or self._at(layout.INPUTS)
        if assignment.inputs.inline is not None:
            await storage.write(inputs_uri, assignment.inputs.inline)
        if templates.mentions(draft.words, "taskTemplatePath"):
            await storage.write(self._at(_TEMPLATE), self._template.SerializeToString(deterministic=True))
        inputs = await self._inputs() if templates.mentions_inputs(draft.words) else {}
        known = {
            **templates.places(assignment, inputs_uri),
            "tasktemplatepath": self._at(_TEMPLATE),
            "namespace": self._fleet.cluster.namespace,
        }

        def render(words: Sequence[str]) -> Sequence[str]:
            return templates.render(words, known, inputs)

        self._primary = draft.primary
        traceparent = "" if self.trace is None else self.trace.child("process").traceparent()
        return manifest.build(draft, assignment, self._template, self._fleet.shape, render, traceparent, inputs_uri)

    async def _base(self) -> Mapping[str, Any] | None:
        """The PodTemplate below the pod; a cluster that is away is waited for."""
        patience = self._fleet.turnstile.patience()
        while True:
            try:
                return await self._fleet.base(self._template.metadata.pod_template_name)
            except errors.Unavailable as error:
                self._explain(f"ClusterUnreachable: {error.message}")
                await asyncio.sleep(patience.next())

    def _at(self, name: str) -> str:
        return f"{self._assignment.output_prefix.rstrip('/')}/{name}"

    async def _create(self, pod: Object) -> Outcome | None:
        """Returns when the cluster has the pod, or why it never will."""
        patience = self._fleet.turnstile.patience()
        while True:
            try:
                async with self._fleet.turnstile.enter():
                    self._fleet.informer.created(await self._fleet.cluster.create(pod))
                    self._is_there = True
                return None
            except Unreachable as error:
                wait = refusals.Wait(f"ClusterUnreachable: {error}")
            except Refused as error:
                if error.reason == "AlreadyExists":
                    return await self._take_up()
                verdict = refusals.of_create(error)
                if isinstance(verdict, Outcome):
                    return verdict
                wait = verdict
            self._explain(wait.reason)
            await self._fleet.turnstile.wait(patience.next())

    async def _take_up(self) -> Outcome | None:
        """The pod was created when nobody answered. Returns why it is not this attempt's, if it is not."""
        found = await self._get()
        try:
            is_mine = found is not None and record.read(found)[0].id == self.id
        except errors.InvalidArgument:
            is_mine = False
        if found is None or not is_mine:
            return outcome.system("PodNotCreated", f"the cluster has a pod {self._name} that is not this attempt's")
        self._fleet.informer.created(found)
        self._is_there = True
        return None

    async def _get(self) -> Object | None:
        while True:
            try:
                return await self._fleet.cluster.get(self._name)
            except (Refused, Unreachable) as error:
                self._explain(f"ClusterUnreachable: {error}")
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    # -------------------------------------------------------------------------------------------------------- process

    async def _watch(self) -> Observation:
        """Returns what has come of the pod, or what it is when its end is wished. Raises Left."""
        alarm: asyncio.TimerHandle | None = None
        try:
            while True:
                seen = await self._look()
                self._stage = seen.stage
                self.stage = seen.stage.name.lower()
                if seen.stage.final:
                    self._ended = True
                    self._started_us = self._started_us or seen.started_us
                    return seen
                if self._wish is not None:
                    return seen
                if self._is_left:
                    raise Left
                if seen.stage is Stage.RUNNING and not self._started_us:
                    alarm = self._begun(seen.started_us or self._bench.clock.now_us())
                    self._fleet.logs.follow(self._name, self._primary, self._assignment.log_uri)
                elif seen.stage < Stage.RUNNING:
                    self._explain(seen.reason)
                await self._followed.changed(self._seconds_until(seen.look_again_us))
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _look(self) -> Observation:
        now_us = self._bench.clock.now_us()
        try:
            if await self._followed.is_gone():
                return observe.missing()
        except (Refused, Unreachable):
            return Observation(self._stage, look_again_us=now_us + round(_LOOK_AGAIN_SECONDS * 1e6))
        pod = self._followed.pod
        if pod is None:
            return Observation(Stage.QUEUED)
        return observe.observe(pod, self._primary, now_us, self._fleet.graces, self._has_files())

    def _has_files(self) -> bool:
        """Whether the co-pilot is beside the task's container: it has to come to an end as well."""
        return datafiles.config_of(self._template) is not None

    def _seconds_until(self, moment_us: int) -> float | None:
        return max((moment_us - self._bench.clock.now_us()) / 1e6, 0.01) if moment_us else None

    def _explain(self, reason: str) -> None:
        """Says why the attempt is no further, whenever that is something else than before."""
        code = reason.split(": ", 2)[:2]
        if not reason or code == self._told or self._started_us:
            return
        self._told = code
        report = replace(self.latest, seq=self.latest.seq + 1, at_us=self._bench.clock.now_us(), reason=reason)
        self.latest = report
        self._say(report)

    # --------------------------------------------------------------------------------------------------------- finish

    async def _finish(self, seen: Observation) -> Outcome:
        has_run = seen.started_us > 0 or seen.exit is not None
        tail = ""
        if has_run and self._followed.pod is not None:
            tail = await self._fleet.logs.finish(self._name, self._primary, self._assignment.log_uri)
        if not seen.stage.final:
            await self._remove()
            return self._wish or outcome.aborted("")
        if seen.outcome is not None and not seen.gone:
            await self._remove()
        self._fleet.turnstile.ended()
        if seen.outcome is not None and not (has_run or self._has_files()):
            return seen.outcome
        return await self._judge(seen, seen.log_tail or tail)

    async def _judge(self, seen: Observation, tail: str) -> Outcome:
        assignment, limit = self._assignment, self._bench.settings.output_limit_bytes
        try:
            files = await results.collect(self._bench.storage, assignment.output_prefix, assignment.inline_limit, limit)
        except errors.Unavailable as error:
            return outcome.system("OutputsNotRead", error.message)
        has_failed = seen.outcome is not None or (seen.exit is not None and seen.exit != Exit(code=0))
        if has_failed and self._has_files() and failure.is_of_outputs(files.error or b""):
            files = replace(files, error=None)
        if seen.outcome is not None and files.error is None:
            return replace(seen.outcome, deck_uri=files.deck_uri)
        declared = bool(self._template.interface.outputs.variables)
        return outcome.of_ended_process(seen.exit or Exit(code=0), files, declared, tail)

    # ----------------------------------------------------------------------------------------------------------- ends

    async def _remove(self) -> None:
        """Deletes the pod and returns when it is gone. One that does not go in time is deleted without its node's word:
        a node that is away for ever would keep it for ever.
        """
        cluster, settings = self._fleet.cluster, self._bench.settings
        grace = self._fleet.shape.grace_seconds
        backoff = Backoff(*_AGAIN_SECONDS)
        loop = asyncio.get_running_loop()
        while True:
            try:
                await cluster.delete(self._name, grace)
                until = loop.time() + grace + settings.pod_delete_seconds
                while (left := until - loop.time()) > 0:
                    if self._followed.pod is None and await cluster.get(self._name) is None:
                        self._fleet.turnstile.ended()
                        return
                    await self._followed.changed(min(left, _LOOK_AGAIN_SECONDS))
                logger.warning("pod %s does not end: it is deleted whatever its node says", self._name)
                grace = 0
            except (Refused, Unreachable) as error:
                logger.warning("pod %s is not removed for now: %s", self._name, error)
                await asyncio.sleep(backoff.next())
