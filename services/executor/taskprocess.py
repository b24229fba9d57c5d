"""An attempt that is a process of its own, from its assignment to its outcome, in three named phases:

    prepare   private directories, inputs.pb, command line, environment
    process   the task process runs; INITIALIZING ends and RUNNING begins with its start
    finish    its files are read and judged

Each phase is a span below the attempt's own, which the propeller emits. The task process is told the `process` span
as its parent (`TRACEPARENT`).

Inputs that came inline, and the task's template, are written into the attempt's private directory and nowhere else: all
items of a list have the same inputs, and a hundred thousand of them must not write one blob a hundred thousand times.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from flyteidl.core import tasks_pb2

from libs.blob import layout
from libs.runtime import together
from libs.wire.session import Assignment
from libs.workflow import errors, options, quantities
from services.executor import (
    commandline,
    datadir,
    environments,
    outcome,
    processes,
    recipes,
    results,
    runner,
    tasksecrets,
    templates,
    variables,
)
from services.executor.attempt import Attempt
from services.executor.outcome import Outcome
from services.executor.tasklog import TaskLog
from services.executor.wardens import Warden
from services.executor.zygotes import Cold

_TEMPLATE: Final = "task.pb"


class ProcessAttempt(Attempt):
    """Runs the command of the task's container."""

    _running: runner.Running | None = None
    _furnished = False
    """Whether there is a directory that is this attempt's alone."""

    @functools.cached_property
    def _scratch(self) -> Path:
        return self._bench.directory.scratch(self.id)

    @functools.cached_property
    def _place(self) -> Path:
        """Where its process has its directories: in those of a warden, if it is forked from a warm one."""
        return self._scratch

    @functools.cached_property
    def _log(self) -> TaskLog:
        bench, uri = self._bench, self._assignment.log_uri
        return TaskLog(bench.storage, uri, bench.directory.log(self.id), bench.settings.log_upload_seconds)

    async def _work(self) -> Outcome:
        try:
            with self._span("prepare"):
                launch = await together.unless(self._wished, "prepare attempt", self._prepare())
        except together.Interrupted:
            return self._wish or outcome.aborted("")
        except errors.AirscrewError as error:
            return outcome.of_refusal(error)
        try:
            with self._span("process"):
                ended = await self._process(launch)
        except errors.InvalidArgument as error:
            return outcome.of_refusal(error)
        except errors.Unavailable as error:
            return outcome.system("ProcessNotStarted", error.message)
        with self._span("finish"):
            return await self._finish(ended)

    def _obey_wish(self) -> None:
        if self._running is not None:
            self._running.stop()

    async def abandon(self) -> None:
        await processes.end_all(self._place)

    @property
    def leaves_files(self) -> bool:
        return self._furnished

    async def clean_up(self) -> None:
        """Removes the private directories, where there are any."""
        if self._furnished:
            await asyncio.to_thread(datadir.remove, self._scratch)

    # ------------------------------------------------------------------------------------------------------- prepare

    async def _prepare(self) -> runner.Launch:
        """Everything that the task needs: where its process is forked from a warm one, that has directories for it."""
        environment = self._bench.environments.of(self._assignment.container_image)
        command = commandline.of_template(self._template)
        found = await self._warm(environment, command)
        if found is None:
            launch = await self._launch(environment, command)
            _require_command(launch, environment)
            await self._log.open()
            return await self._with_inputs(launch)
        recipe, warden = found
        try:
            self._place = Path(warden.desk)
            launch = await self._launch(environment, command)
            call = recipes.call_of(launch.command)
            assert call is not None  # it was one before its variables were put in
            inputs, limit = self._assignment.inputs.inline, self._assignment.inline_limit
            return replace(launch, warm=recipes.warm(call, recipe, warden, launch, inputs, limit))
        except BaseException:
            warden.give_back()
            raise

    async def _launch(self, environment: environments.Environment, command: commandline.Command) -> runner.Launch:
        settings, platform = self._bench.settings, self._bench.platform
        with_template = templates.mentions(command.words, "taskTemplatePath")
        secrets: Mapping[str, str] = {}
        if self._place == self._scratch or with_template or self._wants_secrets():
            secrets = await asyncio.to_thread(self._furnish, with_template)
        words = await self._render(command.words)
        place = variables.Place(
            commands=environment.commands,
            home=self._place / "home",
            temporary=self._place / "tmp",
            devices=self.grant.devices,
            traceparent="" if self.trace is None else self.trace.child("process").traceparent(),
            secrets=secrets,
        )
        return runner.Launch(
            command=commandline.with_private_code(words, self._place / "work"),
            environment=variables.of_attempt(platform, place, self._assignment, self._template.id, command.env),
            directory=self._place,
            working_directory=self._place / "work",
            log=self._log.path,
            log_limit_bytes=settings.log_limit_bytes,
            memory_limit_bytes=memory_limit(self._template),
            kill_grace_seconds=settings.kill_grace_seconds,
            uid=settings.task_uid,
            gid=settings.task_gid,
        )

    async def _warm(
        self, environment: environments.Environment, command: commandline.Command
    ) -> tuple[runner.Recipe, Warden] | None:
        """Who forks a process for it; None: it starts cold."""
        zygotes, call = self._bench.zygotes, recipes.call_of(command.words)
        if zygotes is None or call is None or environment.commands is None:
            return None
        if not options.process(self._template.config, "config").warm:
            return None
        shared = variables.of_zygote(self._bench.platform, environment.commands, self._assignment, command.env)
        recipe = recipes.recipe_of(call, environment.commands, shared, self._template.id)
        try:
            await zygotes.ready(recipe, call.module)
            return recipe, zygotes.take(recipe)
        except Cold:
            return None

    async def _with_inputs(self, launch: runner.Launch) -> runner.Launch:
        """The launch, with its inputs in their file: those of a fork go along."""
        inputs = self._assignment.inputs.inline
        if inputs is not None:
            await asyncio.to_thread(runner.place_inputs, launch, inputs)
        return launch

    def _wants_secrets(self) -> bool:
        return wants_secrets(self._assignment, self._template)

    def _furnish(self, with_template: bool) -> Mapping[str, str]:
        """Makes the private directories and what the task finds in them. Returns the variables of its secrets."""
        uid, gid = self._bench.settings.task_uid, self._bench.settings.task_gid
        self._furnished = True
        datadir.make_scratch(self._scratch, uid, gid)
        if with_template:
            datadir.place(self._scratch / "inputs" / _TEMPLATE, self._template.SerializeToString(), uid, gid)
        wanted = tasksecrets.wanted(self._template.security_context, self._assignment.security_context)
        secrets = tasksecrets.deliver(self._bench.secrets, wanted, self._scratch / "secrets")
        tasksecrets.write(secrets.files, self._scratch, uid, gid)
        return secrets.environment

    async def _render(self, words: tuple[str, ...]) -> tuple[str, ...]:
        inputs = await self._inputs() if templates.mentions_inputs(words) else {}
        return templates.render(words, self._variables(), inputs)

    def _variables(self) -> dict[str, str]:
        """Those of the command line."""
        assignment = self._assignment
        known = templates.places(assignment, assignment.inputs.uri or f"{self._scratch}/inputs/{layout.INPUTS}")
        known["tasktemplatepath"] = f"{self._scratch}/inputs/{_TEMPLATE}"
        return known

    # ------------------------------------------------------------------------------------------------------- process

    async def _process(self, launch: runner.Launch) -> runner.Exit:
        self._running = running = await self._bench.processes.start(launch)
        self._bench.journal.started(self.id, running.process)
        alarm = self._begun(running.started_us)
        if self._wish is not None:
            running.stop()  # wished while it was being started
        following = asyncio.create_task(self._log.follow(), name="upload log")
        try:
            return await running.wait()
        finally:
            self._ended = True
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            if alarm is not None:
                alarm.cancel()

    # -------------------------------------------------------------------------------------------------------- finish

    async def _finish(self, ended: runner.Exit) -> Outcome:
        tail = "" if ended.outputs is not None else await asyncio.to_thread(self._log.tail)
        closing = asyncio.create_task(self._log.close(), name="upload log")
        try:
            return self._wish or await self._judge(ended, tail)
        finally:
            await closing

    async def _judge(self, ended: runner.Exit, tail: str) -> Outcome:
        if ended.not_started:
            return outcome.system("ProcessNotStarted", ended.not_started)
        assignment, settings = self._assignment, self._bench.settings
        if ended.outputs is not None:
            files = results.handed_back(assignment.output_prefix, ended.outputs, ended.deck)
        else:
            try:
                files = await results.collect(
                    self._bench.storage, assignment.output_prefix, assignment.inline_limit, settings.output_limit_bytes
                )
            except errors.Unavailable as error:
                return outcome.system("OutputsNotRead", error.message)
        return outcome.of_ended_process(ended, files, bool(self._template.interface.outputs.variables), tail)


def memory_limit(template: tasks_pb2.TaskTemplate) -> int:
    """The memory limit that the task sets for itself, in bytes; 0 when it sets none."""
    for entry in template.container.resources.limits:
        if entry.name == tasks_pb2.Resources.MEMORY:
            return int(quantities.parse_quantity(entry.value, "container.resources.limits.MEMORY"))
    return 0


def _require_command(launch: runner.Launch, environment: environments.Environment) -> None:
    command = launch.command[0]
    if runner.find_command(command, launch.environment, launch.working_directory):
        return
    if command.startswith("pyflyte-"):
        raise errors.FailedPrecondition(f"{environment} has no {command}: is flytekit installed in it?")
    raise errors.InvalidArgument(f"container: command {command!r} is not found in {environment}")


def wants_secrets(assignment: Assignment, template: tasks_pb2.TaskTemplate) -> bool:
    if not template.security_context.secrets and not assignment.security_context:
        return False
    return bool(tasksecrets.wanted(template.security_context, assignment.security_context))
