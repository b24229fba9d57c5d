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
from services.executor import commandline, environments, outcome, recipes, runner, tasksecrets, templates, variables
from services.executor.kept import Kept, Kind
from services.executor.outcome import Outcome
from services.executor.tasklog import Printed
from services.executor.taskprocess import ProcessAttempt, memory_limit
from services.executor.zygotes import Cold

_TEMPLATE: Final = "taskTemplatePath"


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
        command, kept = prepared
        self._kept = kept
        try:
            with self._span("process"):
                ended, printed = await self._run(kept, command)
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)
        finally:
            self._ended = True
            assert self._bench.kept is not None
            self._bench.kept.give_back(kept)
        if self._wish is not None:
            return self._wish
        result = await self._judge(ended, printed.tail())
        printed.close()
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

    async def _take(self) -> tuple[commandline.Command, Kept]:
        """The command, and a process to call it in. Raises Cold."""
        bench, assignment = self._bench, self._assignment
        environment = bench.environments.of(assignment.container_image)
        command = commandline.of_template(self._template)
        call = recipes.call_of(command.words)
        if bench.zygotes is None or bench.kept is None or call is None or environment.commands is None:
            raise Cold("it is no call of flytekit's")
        shared = variables.of_zygote(bench.platform, environment.commands, assignment, command.env)
        recipe = recipes.recipe_of(call, environment.commands, shared, self._template.id)
        kind = Kind(recipe, memory_limit(self._template), self.grant.devices)
        kept = bench.kept.take(kind)
        if kept is None:
            kept = await together.unless(self._wished, "prepare attempt", self._start(kind, call.module, environment))
        return command, kept

    async def _start(self, kind: Kind, module: str, environment: environments.Environment) -> Kept:
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

    async def _run(self, kept: Kept, command: commandline.Command) -> tuple[runner.Exit, Printed]:
        settings, assignment = self._bench.settings, self._assignment
        call, environment, configured = await self._call(kept, command)
        header = {
            "words": (str(kept.kind.recipe.commands / call.words[0]), *call.words[1:]),
            "environment": environment,
            "work": str(kept.work),
            "temporary": str(kept.temporary),
            "inline": assignment.inputs.inline is not None,
            "limit": assignment.inline_limit,
            "configured": configured,
            "memory": settings.reuse_memory_bytes,
        }
        printed = Printed(self._log.path, settings.log_limit_bytes)
        alarm = self._begun(self._bench.clock.now_us())
        if self._wish is not None:
            kept.stop()
        try:
            ended, reply = await kept.run(
                header, assignment.inputs.inline or b"", assignment.inline_limit, printed.write
            )
        finally:
            if alarm is not None:
                alarm.cancel()
        return recipes.handed_back(ended, reply), printed

    async def _call(self, kept: Kept, command: commandline.Command) -> tuple[recipes.Call, Mapping[str, str], bool]:
        """What to call, in which environment, and whether flytekit's configuration is that of the zygote."""
        secrets: Mapping[str, str] = {}
        with_template = templates.mentions(command.words, _TEMPLATE)
        if with_template or self._wanted_secrets():
            self._furnished = True
            secrets = await asyncio.to_thread(self._furnish, with_template)
        words = commandline.with_private_code(await self._render(command.words), kept.work)
        call = recipes.call_of(words)
        assert call is not None  # it was one before its variables were put in
        place = variables.Place(
            commands=kept.kind.recipe.commands,
            home=kept.home,
            temporary=kept.temporary,
            devices=self.grant.devices,
            traceparent="" if self.trace is None else self.trace.child("process").traceparent(),
            secrets=secrets,
        )
        found = variables.of_attempt(self._bench.platform, place, self._assignment, self._template.id, command.env)
        return call, recipes.environment(call, found, kept.work), not secrets

    def _wanted_secrets(self) -> bool:
        return bool(tasksecrets.wanted(self._template.security_context, self._assignment.security_context))
