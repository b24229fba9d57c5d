"""An attempt in a process that is kept for many (`kept`): the same outcome as in one of its own, without its costs.

Nothing is made for it: its inputs go along, its outputs come back, its log exists when it has printed something. Only
secrets and a template that its command line names lie in a directory of the attempt's own, as in any other.

Where there is no warm process for it, it runs in one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from libs.runtime import together
from libs.workflow import errors
from services.executor import commandline, outcome, recipes, runner, tasksecrets, templates, variables
from services.executor.kept import Kept, KeptProcesses, Kind, Plan
from services.executor.outcome import Outcome
from services.executor.tasklog import Printed
from services.executor.taskprocess import ProcessAttempt, memory_limit
from services.executor.zygotes import Cold

_TEMPLATE: Final = "taskTemplatePath"


# As many plans are remembered: more tasks than one executor sees at a time.
_PLANS: Final = 1000


class ReusedAttempt(ProcessAttempt):
    """Runs flytekit's command as a call in a kept process."""

    _kept: Kept | None = None
    _furnished = False

    async def _work(self) -> Outcome:
        try:
            prepared = await self._take()
        except Cold:
            return await super()._work()
        except together.Interrupted:
            return self._wish or outcome.aborted("")
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)
        plan, kept = prepared
        self._kept = kept
        printed = Printed(lambda: self._log.path, self._bench.settings.log_limit_bytes)
        try:
            with self._span("process"):
                ended = await self._run(kept, plan, printed)
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)
        finally:
            self._ended = True
            assert self._bench.kept is not None
            self._bench.kept.give_back(kept)
            printed.close()
        result = self._wish or await self._judge(ended, printed.tail())
        if printed.any:
            await self._log.close()
        return result

    def _obey_wish(self) -> None:
        if self._kept is not None:
            self._kept.stop()
        else:
            super()._obey_wish()

    async def clean_up(self) -> None:
        """Removes the private directories, where there are any."""
        if self._furnished:
            await super().clean_up()

    async def _take(self) -> tuple[Plan, Kept]:
        """What to do, and a process to do it in. Raises Cold."""
        kept = self._bench.kept
        if kept is None:
            raise Cold("there are no warm processes")
        plan = self._plan(kept)
        kind = Kind(plan.recipe, plan.memory_limit_bytes, self.grant.devices)
        process = kept.take(kind)
        if process is None:
            process = await together.unless(self._wished, "prepare attempt", self._start(kind, plan.module))
        return plan, process

    def _plan(self, kept: KeptProcesses) -> Plan:
        """What is the same for all attempts of this task in executions with the same settings."""
        assignment = self._assignment
        key = (assignment.spec_digest, assignment.container_image, tuple(assignment.envs.items()))
        plan = kept.plans.get(key)
        if plan is None:
            plan = kept.plans[key] = self._plan_anew()
            if len(kept.plans) > _PLANS:
                del kept.plans[next(iter(kept.plans))]
        return plan

    def _plan_anew(self) -> Plan:
        bench = self._bench
        commands = bench.environments.of(self._assignment.container_image).commands
        command = commandline.of_template(self._template)
        call = recipes.call_of(command.words)
        if call is None or commands is None:
            raise Cold("it is no call of flytekit's")
        shared = variables.of_zygote(bench.platform, commands, self._assignment, command.env)
        recipe = recipes.recipe_of(call, commands, shared, self._template.id)
        with_template = templates.mentions(command.words, _TEMPLATE)
        return Plan(command, recipe, call.module, memory_limit(self._template), with_template)

    async def _start(self, kind: Kind, module: str) -> Kept:
        bench, settings = self._bench, self._bench.settings
        assert bench.zygotes is not None and bench.kept is not None
        await bench.zygotes.ready(kind.recipe, module)
        order = {
            "reuse": True,
            "log_limit": 0,
            "memory_limit": kind.memory_limit_bytes,
            "grace": settings.kill_grace_seconds,
        }
        return await bench.kept.start(kind, order)

    async def _run(self, kept: Kept, plan: Plan, printed: Printed) -> runner.Exit:
        settings, assignment = self._bench.settings, self._assignment
        call, environment, configured = await self._call(kept, plan)
        header = {
            "words": (f"{plan.recipe.commands}/{call.words[0]}", *call.words[1:]),
            "work": kept.work,
            "temporary": kept.temporary,
            "inline": assignment.inputs.inline is not None,
            "limit": assignment.inline_limit,
            "configured": configured,
            "memory": settings.reuse_memory_bytes,
        }
        alarm = self._begun(self._bench.clock.now_us())
        if self._wish is not None:
            kept.stop()
        try:
            ended, reply = await kept.run(
                header, environment, assignment.inputs.inline or b"", assignment.inline_limit, printed.write
            )
        finally:
            if alarm is not None:
                alarm.cancel()
        return recipes.handed_back(ended, reply)

    async def _call(self, kept: Kept, plan: Plan) -> tuple[recipes.Call, Mapping[str, str], bool]:
        """What to call, in which environment, and whether flytekit's configuration is that of the zygote."""
        secrets: Mapping[str, str] = {}
        if plan.with_template or self._wanted_secrets():
            self._furnished = True
            secrets = await asyncio.to_thread(self._furnish, plan.with_template)
        words = commandline.with_private_code(await self._render(plan.command.words), kept.work)
        call = recipes.call_of(words)
        assert call is not None  # it was one before its variables were put in
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
        return call, recipes.environment(call, found, kept.work), not secrets

    def _wanted_secrets(self) -> bool:
        if not self._template.security_context.secrets and not self._assignment.security_context:
            return False
        return bool(tasksecrets.wanted(self._template.security_context, self._assignment.security_context))
