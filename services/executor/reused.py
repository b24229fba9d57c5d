"""An attempt in a process that is kept for many (`kept`): the same outcome as in one of its own, without its costs.

Nothing is made for it: its inputs go along, its outputs come back, its log exists when it has printed something. Only
secrets and a template that its command line names lie in a directory of the attempt's own, as in any other.

Where a process is free, or has a line with room, and nothing has to be waited for, the attempt needs no task of
asyncio's: it is given away, and the process's answer is its end (`begin`, `follow`). Where there is no warm process for
it, it runs in one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from flyteidl.core import tasks_pb2

from libs.runtime import together
from libs.wire.session import Assignment
from libs.workflow import errors
from services.executor import commandline, framing, outcome, recipes, results, runner, templates, variables
from services.executor.attempt import Over, Workbench
from services.executor.keeping import KeptProcesses
from services.executor.kept import Job, Kept, Kind, Plan
from services.executor.outcome import Outcome
from services.executor.tasklog import Printed
from services.executor.taskprocess import ProcessAttempt, memory_limit, wants_secrets
from services.executor.zygotes import Cold

_TEMPLATE: Final = "taskTemplatePath"

_DIED_TWICE: Final = "two processes, one after the other, have died before they had begun with the task"


# As many plans are remembered: more tasks than one executor sees at a time.
_PLANS: Final = 1000

_LINE_BYTES: Final = framing.PACKET_BYTES // 2
"""Inputs of a task in line: with all else that it is told they fit into one packet."""


class ReusedAttempt(ProcessAttempt):
    """Runs flytekit's command as a call in a kept process."""

    _kept: Kept | None = None
    _job: Job | None = None
    _exit: runner.Exit | None = None
    """How the process has ended with it, or what it has said."""
    _again = False
    """Whether a process that it was given to has died before it had begun with it."""
    _alarm: asyncio.TimerHandle | None = None
    _began_us = 0
    _takes_over: Callable[[ReusedAttempt], None] | None = None
    _recalled: Callable[[ReusedAttempt], None] | None = None

    # ---------------------------------------------------------------------------------------------------- at once

    def begin(self, over: Over) -> bool:
        plan = _plan_of(self._bench, self._assignment, self._template)
        if plan is None or not _needs_nothing(plan, self._assignment, self._template):
            return False
        assert self._bench.kept is not None
        kept = self._bench.kept.take(plan.kind(self.grant.devices))
        if kept is None:
            return False
        self._give(kept, plan, self._rendered(kept, plan, {}), {}, over)
        return True

    def follow(
        self,
        place: Place,
        begun: Callable[[ReusedAttempt], None],
        over: Over,
        recalled: Callable[[ReusedAttempt], None],
    ) -> None:
        """Gets into the line of a process, whose grant it has. `begun` tells that those before it are over, `recalled`
        that it comes back as if nothing had been.
        """
        self._recalled = recalled
        self._takes_over = begun
        kept, plan = place
        self._give(kept, plan, self._rendered(kept, plan, {}), {}, over)
        assert self._bench.kept is not None
        self._bench.kept.watch_lines()

    def _give(self, kept: Kept, plan: Plan, call: recipes.Call, secrets: Mapping[str, str], over: Over) -> None:
        assignment = self._assignment
        self._kept, self._over = kept, over
        self._printed = Printed(lambda: self._log.path, self._bench.settings.log_limit_bytes)
        kept.grant = self.grant
        header = {
            "words": (f"{plan.recipe.commands}/{call.words[0]}", *call.words[1:]),
            "work": kept.work,
            "temporary": kept.temporary,
            "home": kept.home,
            "inline": assignment.inputs.inline is not None,
            "limit": assignment.inline_limit,
            "configured": not secrets,
            "memory": self._bench.settings.reuse_memory_bytes,
        }
        self._job = Job(
            header,
            self._environment(kept, plan, call, secrets),
            assignment.inputs.inline or b"",
            assignment.inline_limit,
            begun=self._has_begun,
            printed=self._printed.write,
            ended=self._has_ended,
            recalled=self._comes_back,
        )
        kept.give(self._job)

    def _has_begun(self) -> None:
        if self._takes_over is not None:
            self._takes_over(self)
        self._began_us = self._bench.clock.now_us()
        self._alarm = self._begun(self._began_us)
        if self._wish is not None:
            self._obey_wish()

    def _has_ended(self, ended: runner.Exit, reply: framing.Reply | None) -> None:
        self._ended = True
        self._put_down()
        self._exit = ended = recipes.handed_back(ended, reply)
        self._tell_span("process", self._began_us)
        assert self._kept is not None and self._bench.kept is not None
        self._bench.kept.give_back(self._kept)
        printed = self._printed
        if self._wish is not None or ended.outputs is None or printed.any:
            self._over(self, None)
            return
        files = results.handed_back(self._assignment.output_prefix, ended.outputs, ended.deck)
        declared = bool(self._template.interface.outputs.variables)
        self._over(self, outcome.of_ended_process(ended, files, declared, ""))

    def _comes_back(self) -> None:
        self._put_down()
        assert self._kept is not None and self._bench.kept is not None
        died = self._kept.exit
        if self._kept.ended:
            self._bench.kept.give_back(self._kept)
        self._kept = self._job = None
        if self._recalled is not None:
            self._recalled(self)
            return
        # Its process has died before it had begun with it: it takes another. Where that dies too, or the machine says
        # that it can start none, it is for whoever assigned it to wait, or to ask another machine.
        if died.not_started or (self._again and died.out_of_memory):
            self._exit = died
        elif self._again:
            self._exit = replace(died, not_started=_DIED_TWICE)
        self._again = True
        self._over(self, None)

    def _put_down(self) -> None:
        self._printed.close()
        if self._alarm is not None:
            self._alarm.cancel()

    # --------------------------------------------------------------------------------------------- with something to do

    async def _work(self) -> Outcome:
        while self._exit is None:
            if self._wish is not None:
                return self._wish
            end = await self._in_process()
            if end is not None:
                return end
        result = self._wish or await self._judge(self._exit, self._printed.tail())
        if self._printed.any:
            await self._log.close()
        return result

    async def _in_process(self) -> Outcome | None:
        """Gives it to one process. None: `_exit` says how that has ended with it, or it has not begun with it."""
        try:
            plan, kept = await self._take()
        except Cold:
            return await super()._work()
        except together.Interrupted:
            return self._wish or outcome.aborted("")
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)
        try:
            call, secrets = await self._call(kept, plan)
        except errors.AirscrewError as error:
            assert self._bench.kept is not None
            self._bench.kept.give_back(kept)
            return outcome.of_refusal(error)
        over: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._give(kept, plan, call, secrets, lambda _, end: None if over.done() else over.set_result(end))
        return await over

    def _obey_wish(self) -> None:
        if self._kept is not None and self._job is not None:
            self._kept.stop(self._job)
        else:
            super()._obey_wish()

    async def _take(self) -> tuple[Plan, Kept]:
        """What to do, and a process to do it in. Raises Cold."""
        kept = self._bench.kept
        if kept is None:
            raise Cold("there are no warm processes")
        plan = _plan(self._bench, kept, self._assignment, self._template)
        kind = plan.kind(self.grant.devices)
        process = kept.take(kind)
        if process is None:
            process = await together.unless(self._wished, "prepare attempt", self._start(kind, plan.module))
        return plan, process

    async def _start(self, kind: Kind, module: str) -> Kept:
        bench, settings = self._bench, self._bench.settings
        assert bench.zygotes is not None and bench.kept is not None
        await bench.zygotes.ready(kind.recipe, module)
        order = {
            "reuse": True,
            "memory_limit": kind.memory_limit_bytes,
            "grace": settings.kill_grace_seconds,
        }
        return await bench.kept.start(kind, order)

    async def _call(self, kept: Kept, plan: Plan) -> tuple[recipes.Call, Mapping[str, str]]:
        """What to call, and the variables of its secrets."""
        secrets: Mapping[str, str] = {}
        if plan.with_template or wants_secrets(self._assignment, self._template):
            secrets = await asyncio.to_thread(self._furnish, plan.with_template)
        return self._rendered(kept, plan, await self._inputs() if plan.with_inputs else {}), secrets

    def _rendered(self, kept: Kept, plan: Plan, inputs: templates.Inputs) -> recipes.Call:
        """What to call. Which word is which does not depend on what its variables are."""
        call = kept.calls.get(plan)
        if call is None:
            call = recipes.call_of(commandline.with_private_code(plan.command.words, kept.work))
            assert call is not None  # or there would be no plan
            kept.calls[plan] = call
        return recipes.Call(
            templates.render(call.words, self._variables(), inputs), call.distribution, call.destination
        )

    def _environment(self, kept: Kept, plan: Plan, call: recipes.Call, secrets: Mapping[str, str]) -> Mapping[str, str]:
        place = variables.Place(
            commands=plan.recipe.commands,
            home=kept.home,
            temporary=kept.temporary,
            devices=self.grant.devices,
            traceparent="" if self.trace is None else self.trace.child("process").traceparent(),
            secrets=secrets,
        )
        env = plan.command.env
        found = variables.of_attempt(self._bench.platform, place, self._assignment, self._template.id, env)
        return recipes.environment(call, found, kept.work)


Place = tuple[Kept, Plan]
"""In the line of a process, and what it would do."""


def place_in_line(bench: Workbench, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> Place | None:
    """Where an attempt could wait for its turn, if its task lets it."""
    plan = _plan_of(bench, assignment, template)
    if plan is None or not _needs_nothing(plan, assignment, template):
        return None
    assert bench.kept is not None
    kept = bench.kept.behind(plan.kind(()), assignment.resources)
    return None if kept is None or len(assignment.inputs.inline or b"") > _LINE_BYTES else (kept, plan)


def _plan_of(bench: Workbench, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> Plan | None:
    """The plan; None when there can be none, and then the attempt says why."""
    if bench.kept is None:
        return None
    try:
        return _plan(bench, bench.kept, assignment, template)
    except (Cold, errors.AirscrewError):
        return None


def _needs_nothing(plan: Plan, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> bool:
    """Whether the task needs neither a directory nor its inputs to be read before it is given to a process."""
    return not (plan.with_template or plan.with_inputs or wants_secrets(assignment, template))


def _plan(bench: Workbench, kept: KeptProcesses, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> Plan:
    """What is the same for all attempts of this task in executions with the same settings. Raises Cold."""
    key = (assignment.spec_digest, assignment.container_image, tuple(assignment.envs.items()))
    plan = kept.plans.get(key)
    if plan is None:
        plan = kept.plans[key] = _plan_anew(bench, assignment, template)
        if len(kept.plans) > _PLANS:
            del kept.plans[next(iter(kept.plans))]
    return plan


def _plan_anew(bench: Workbench, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> Plan:
    commands = bench.environments.of(assignment.container_image).commands
    command = commandline.of_template(template)
    call = recipes.call_of(command.words)
    if call is None or commands is None:
        raise Cold("it is no call of flytekit's")
    shared = variables.of_zygote(bench.platform, commands, assignment, command.env)
    return Plan(
        command,
        recipes.recipe_of(call, commands, shared, template.id),
        call.module,
        memory_limit(template),
        with_template=templates.mentions(command.words, _TEMPLATE),
        with_inputs=templates.mentions_inputs(command.words),
    )
