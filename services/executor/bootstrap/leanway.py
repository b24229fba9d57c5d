"""flytekit's own way from inputs to outputs, without the files and without the command line.

flytekit's `_dispatch_execute` does everything that decides: conversion, errors, offloading, decks. Ours is what is
around it: the command line (read without click), the context (`setup_execution`, with what never changes read once),
and, through two names of its module, reading `inputs.pb` (from memory when the inputs came along) and keeping what it
writes until it is clear whether it is small. Values are converted on a loop of this thread, which saves two changes of
thread a task.

`fits` says whether the installed flytekit is built so; where it is not, its command line is called.
"""

# ruff: noqa: B905, UP017 - a task environment may have an older Python than ours

from __future__ import annotations

import datetime
import inspect
import os
import pathlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.executor.bootstrap.exchange import Exchange, Result

TOOLS = {"pyflyte-execute": "execute_task_cmd", "pyflyte-map-execute": "map_execute_task_cmd"}
# Long options that flytekit's commands take with a value each, and the parameter each becomes.
OPTIONS = {
    "--inputs": "inputs",
    "--output-prefix": "output_prefix",
    "--raw-output-data-prefix": "raw_output_data_prefix",
    "--checkpoint-path": "checkpoint_path",
    "--prev-checkpoint": "prev_checkpoint",
    "--dynamic-addl-distro": "dynamic_addl_distro",
    "--dynamic-dest-dir": "dynamic_dest_dir",
    "--resolver": "resolver",
}


TASK_NAMES = (
    ("FLYTE_INTERNAL_TASK_PROJECT", "_F_TK_PRJ"),
    ("FLYTE_INTERNAL_TASK_DOMAIN", "_F_TK_DM"),
    ("FLYTE_INTERNAL_TASK_NAME", "_F_TK_NM"),
    ("FLYTE_INTERNAL_TASK_VERSION", "_F_TK_V"),
)

# What flytekit's file access consists of; of one that has more no copy is made.
ACCESS = {
    "_data_config",
    "_default_protocol",
    "_default_remote",
    "_execution_metadata",
    "_local",
    "_local_sandbox_dir",
    "_raw_output_prefix",
}


# And what flytekit tells a task of itself consists of.
PARAMETERS = {
    *("_attrs", "_checkpoint", "_decks", "_enable_deck", "_execution_date", "_execution_id", "_logging"),
    *("_output_metadata_prefix", "_raw_output_prefix", "_secrets_manager", "_stats", "_task_id", "_timeline_deck"),
    "_working_directory",
}


class LeanWay:
    """Installs itself into the flytekit of this process, once."""

    def __init__(self, exchanges: Any, shortcuts: Any) -> None:
        from flytekit.bin import entrypoint
        from flytekit.core import base_task, checkpointer, context_manager, data_persistence, utils
        from flytekit.utils import asyn

        self.exchanges = exchanges
        self.entrypoint: Any = entrypoint
        self.exchange: Exchange | None = None
        self.configured = True
        self.environment: Mapping[str, str] = {}
        self.desk = ""
        self.default: Any = data_persistence.default_local_file_access_provider
        self.contexts: Any = context_manager
        self.persistence: Any = data_persistence
        self.fits = _fits(entrypoint, self.default)
        if not self.fits:
            return
        entrypoint.utils = exchanges.Utils(utils, self)
        checkpointer.tempfile = exchanges.Tempfiles(checkpointer.tempfile)
        self.provider = exchanges.provider(data_persistence.FileAccessProvider, self)
        self.configuration = Configuration()
        self.loops: Any = asyn.loop_manager
        self.lost: dict[str, Any] = {}
        self.accesses: dict[str, Any] = {}
        self.secrets: Any = None
        self.conversions: Any = shortcuts.Conversions(self.loops.run_sync)
        base_task.run_sync = self.loops.run_sync = self.conversions.run_sync
        # Where a context was opened is for flytekit's own debugging; finding it out reads source files.
        origin = traceback.FrameSummary("airscrew", 0, "task", lookup_line=False, line="")
        contexts: Any = context_manager.FlyteContextManager
        contexts.get_origin_stackframe = staticmethod(lambda limit=2: origin)
        shortcuts.install()

    def settle(self, desk: str) -> None:
        """Gives flytekit's default context directories of this process, which are there, instead of the zygote's."""
        self.desk = desk
        sandbox, raw = os.path.join(self.desk, "sandbox"), os.path.join(self.desk, "raw")
        self.persistence.flyte_tmp_dir = self.desk
        if not self.fits:
            provider = self.persistence.FileAccessProvider(local_sandbox_dir=sandbox, raw_output_prefix=raw)
            self.persistence.default_local_file_access_provider = provider
            self.contexts.default_local_file_access_provider = provider
            self.contexts.FlyteContextManager.initialize()
            return
        self.default._local_sandbox_dir = pathlib.Path(sandbox, "local_flytekit")
        self.default._raw_output_prefix = raw + os.sep
        task = pathlib.Path(self.desk, "task", "local_flytekit")
        for access in self.accesses.values():
            access._local_sandbox_dir = task

    def run(
        self, words: list[str], inputs: bytes | None, limit: int, configured: bool, environment: Mapping[str, str]
    ) -> Result:
        """As if the command `words` had been run by itself: returns instead of exiting.

        `configured` says that nothing in the environment but what names the task differs from the zygote's;
        `environment` is what `os.environ` has, which decodes whatever is looked up in it.
        """
        try:
            self.exchange = None
            self.configured = configured
            self.environment = environment
            self.call(words, inputs, limit)
        except SystemExit as exit:
            return self.result(_exit_code(exit.code))
        except KeyboardInterrupt:
            print("Aborted!", file=sys.stderr)
            return self.result(1)
        except BaseException:
            traceback.print_exc()
            return self.result(1)
        return self.result(0)

    def result(self, code: int) -> Result:
        """How the task has ended, and what it hands back if it ended well."""
        exchange: Any = self.exchange
        if code or exchange is None:
            return self.exchanges.Result(code)  # type: ignore[no-any-return]
        return self.exchanges.Result(code, exchange.outputs, exchange.deck)  # type: ignore[no-any-return]

    def call(self, words: list[str], inputs: bytes | None, limit: int) -> None:
        tool = os.path.basename(words[0])
        lean = self.fits and not self.environment.get(self.entrypoint.RUNTIME_PACKAGES_ENV_NAME)
        parameters = _parse(tool, words[1:]) if lean else None
        if parameters is None:
            self.call_command(tool, words, inputs)
            return
        self.exchange = self.exchanges.Exchange(parameters["inputs"], inputs, parameters["output_prefix"], limit)
        paths = ("raw_output_data_prefix", "checkpoint_path", "prev_checkpoint")
        normal = self.entrypoint.normalize_inputs(*(parameters.get(name) for name in paths))
        parameters.update(dict(zip(paths, normal)))
        self.execute(tool == "pyflyte-map-execute", parameters)

    def execute(self, of_map: bool, parameters: dict[str, Any]) -> None:
        """What flytekit's `_execute_task` and `_execute_map_task` do; `sys.path` has the working directory already."""
        entrypoint, prefix = self.entrypoint, parameters["output_prefix"]
        arguments = list(parameters["resolver_args"])
        if not arguments:
            raise ValueError("no arguments for the resolver")
        with self.context(parameters) as ctx:
            resolver = entrypoint.load_object_from_module(parameters["resolver"])
            more: dict[str, Any] = {}
            if of_map:
                resolver = resolver()
                more = {"max_concurrency": parameters.get("max_concurrency")}
                if resolver.name() == "flytekit.core.legacy_map_task.MapTaskResolver":
                    prefix = os.path.join(prefix, str(entrypoint._compute_array_job_index()))

            def load() -> Any:
                return resolver.load_task(loader_args=arguments, **more)

            entrypoint._dispatch_execute(ctx, load, parameters["inputs"], prefix, is_map_task=of_map)

    def one_of(self, name: str, former: str) -> str:
        """A variable under one of two names."""
        value = self.environment.get(name)
        return self.environment.get(former, "") if value is None else value

    @contextmanager
    def context(self, parameters: dict[str, Any]) -> Iterator[Any]:
        """What flytekit's `setup_execution` does, in directories that are there already."""
        of = self.one_of
        project, domain = (
            of("FLYTE_INTERNAL_EXECUTION_PROJECT", "_F_PRJ"),
            of("FLYTE_INTERNAL_EXECUTION_DOMAIN", "_F_DM"),
        )
        name, workflow = of("FLYTE_INTERNAL_EXECUTION_ID", "_F_NM"), of("FLYTE_INTERNAL_EXECUTION_WORKFLOW", "_F_WF")
        plan = of("FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN", "_F_LP")
        task = [of(long, short) for long, short in TASK_NAMES]
        entrypoint, raw = self.entrypoint, parameters["raw_output_data_prefix"]
        configuration = self.configuration if self.configured else Configuration()
        checkpoint = None
        if parameters["checkpoint_path"] is not None:
            checkpoint = entrypoint.SyncCheckpoint(
                checkpoint_dest=parameters["checkpoint_path"], checkpoint_src=parameters["prev_checkpoint"]
            )
        tags = {
            "exec_project": project,
            "exec_domain": domain,
            "exec_workflow": workflow,
            "exec_launchplan": plan,
            "api_version": configuration.version,
        }
        user = self.parameters(
            execution_id=entrypoint._identifier.WorkflowExecutionIdentifier(project=project, domain=domain, name=name),
            execution_date=datetime.datetime.now(datetime.timezone.utc),
            stats=self.exchanges.Late(
                lambda: entrypoint._get_stats(
                    cfg=configuration.stats, prefix=f"{task[0]}.{task[1]}.{task[2]}.user_stats", tags=tags
                )
            ),
            logging=entrypoint.user_space_logger,
            tmp_dir=os.path.join(self.desk, "workspace"),
            raw_output_prefix=raw,
            output_metadata_prefix=parameters["output_prefix"],
            checkpoint=checkpoint,
            task_id=entrypoint._identifier.Identifier(entrypoint._identifier.ResourceType.TASK, *task),
        )
        access = self.access(
            raw,
            {
                "flyte-execution-project": project,
                "flyte-execution-domain": domain,
                "flyte-execution-launchplan": plan,
                "flyte-execution-workflow": workflow,
                "flyte-execution-name": name,
            },
        )
        contexts = self.contexts.FlyteContextManager
        ctx = contexts.current_context().new_builder().with_file_access(access).build()
        state = entrypoint.ExecutionState(
            working_dir=access.local_sandbox_dir,
            mode=entrypoint.ExecutionState.Mode.TASK_EXECUTION,
            user_space_params=user,
        )
        builder = ctx.new_builder().with_execution_state(state)
        builder = builder.with_output_metadata_tracker(entrypoint.OutputMetadataTracker())
        transported = self.environment.get(entrypoint.SERIALIZED_CONTEXT_ENV_VAR, "")
        distribution = (parameters["dynamic_addl_distro"], parameters["dynamic_dest_dir"])
        settings = configuration.serialization(transported, (project, domain, task[3]), distribution)
        with contexts.with_context(builder.with_serialization_settings(settings)) as ctx:
            yield ctx

    def parameters(self, tmp_dir: str, **told: Any) -> Any:
        """What the task is told of itself: where its secrets are is read once of the configuration."""
        kind = self.entrypoint.ExecutionParameters
        if self.secrets is None or not self.configured:
            made = kind(tmp_dir=tmp_dir, **told)
            if self.configured and set(vars(made)) == PARAMETERS:
                self.secrets = _copy(made._secrets_manager)
            return made
        made = object.__new__(kind)
        found = {f"_{name}": value for name, value in told.items()}
        made.__dict__.update(
            found,
            _working_directory=tmp_dir,
            _attrs={},
            _secrets_manager=_copy(self.secrets),
            _decks=[],
            _timeline_deck=None,
            _enable_deck=False,
        )
        return made

    def access(self, raw: str, metadata: dict[str, str]) -> Any:
        """The file access of a task: a copy of the last one of its kind, where only these two things differ."""
        protocol = raw.partition("://")[0] if "://" in raw else ""
        last = self.accesses.get(protocol) if self.configured else None
        if last is None:
            configuration = self.configuration if self.configured else Configuration()
            made = self.provider(
                local_sandbox_dir=os.path.join(self.desk, "task"),
                raw_output_prefix=raw,
                data_config=configuration.data,
                execution_metadata=metadata,
            )
            if self.configured and set(vars(made)) == ACCESS:
                self.accesses[protocol] = _copy(made)
            return made
        access = _copy(last)
        separator = access.sep(access._default_remote)
        access._raw_output_prefix = raw if raw.endswith(separator) else raw + separator
        access._execution_metadata = None if last._execution_metadata is None else metadata
        return access

    def forget(self) -> None:
        """What is remembered of a task and is of no use to another."""
        self.exchange = None
        self.configuration.settings.clear()

    def write_files(self) -> None:
        """Writes the last task's outputs to their place, if they were to be handed back: nobody can take them."""
        if self.exchange is not None and self.exchange.outputs is not None:
            # Whoever has closed the executor's channel has closed those of flytekit's loops too: it makes new ones.
            self.lost.update(self.loops._runner_map)
            self.loops._runner_map.clear()
            self.exchange.write()

    def call_command(self, tool: str, words: list[str], inputs: bytes | None) -> None:
        if inputs is not None:
            path = words[words.index("--inputs") + 1]
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(inputs)
        getattr(self.entrypoint, TOOLS[tool]).main(words[1:], prog_name=words[0])


class Configuration:
    """What flytekit reads for each task of environment and files, and what comes out the same each time."""

    def __init__(self) -> None:
        from flytekit import __version__
        from flytekit.bin import entrypoint
        from flytekit.configuration import DataConfig, ImageConfig, StatsConfig

        self.version = __version__
        self.entrypoint: Any = entrypoint
        self.data = DataConfig.auto()
        self.stats = StatsConfig.auto()
        self.transported: dict[str, Any] = {"": entrypoint.SerializationSettings(ImageConfig.auto())}
        self.settings: dict[Any, Any] = {}
        entrypoint._get_stats(cfg=self.stats, prefix="", tags={})  # its socket, which all tasks may share

    def serialization(self, transported: str, names: tuple[str, ...], distribution: tuple[str | None, ...]) -> Any:
        """The settings that a task was registered with, as one of these names, with its code at `distribution`."""
        key = (transported, names, distribution)
        if key not in self.settings:
            if transported not in self.transported:
                self.transported[transported] = self.entrypoint.SerializationSettings.from_transport(transported)
            settings = self.transported[transported].new_builder()
            project, domain, settings.version = names
            settings.project, settings.domain = settings.project or project, settings.domain or domain
            location, destination = distribution
            if location:
                settings.fast_serialization_settings = self.entrypoint.FastSerializationSettings(
                    enabled=True, destination_dir=destination, distribution_location=location
                )
            self.settings[key] = settings.build()
        return _copy(self.settings[key])  # a task may change its own


def _copy(value: Any) -> Any:
    """Another one with the same attributes."""
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__)
    return made


def _fits(entrypoint: Any, default: Any) -> bool:
    try:
        wanted = {
            "_execute_task": {*OPTIONS.values(), "test", "resolver_args"},
            "_execute_map_task": {*OPTIONS.values(), "test", "resolver_args", "max_concurrency"},
        }
        found = {name: set(inspect.signature(getattr(entrypoint, name)).parameters) for name in wanted}
        source = inspect.getsource(entrypoint._dispatch_execute)
        uses = (
            "utils.load_proto_from_file",
            "utils.write_proto_to_file",
            "file_access.get_data",
            "file_access.put_data",
        )
        names = (
            "normalize_inputs",
            "get_one_of",
            "_get_stats",
            "SyncCheckpoint",
            "ExecutionParameters",
            "ExecutionState",
        )
        known = all(hasattr(entrypoint, name) for name in names)
        known = known and hasattr(default, "_local_sandbox_dir") and hasattr(default, "_raw_output_prefix")
        return known and found == wanted and all(use in source for use in uses)
    except (AttributeError, OSError, TypeError):
        return False


def _parse(tool: str, words: list[str]) -> dict[str, Any] | None:
    """The parameters of a command line as the engine's own templates have it; None when it takes click to read it."""
    parameters: dict[str, Any] = dict.fromkeys(OPTIONS.values())
    at = 0
    while at < len(words) and words[at] != "--":
        if at + 1 == len(words):
            return None
        if words[at] == "--max-concurrency" and tool == "pyflyte-map-execute" and words[at + 1].isdigit():
            parameters["max_concurrency"] = int(words[at + 1])
        elif words[at] in OPTIONS:
            parameters[OPTIONS[words[at]]] = words[at + 1]
        else:
            return None
        at += 2
    if at == len(words) or not (parameters["inputs"] and parameters["output_prefix"] and parameters["resolver"]):
        return None
    parameters["resolver_args"] = tuple(words[at + 1 :])
    return parameters


def _exit_code(code: Any) -> int:
    """What the interpreter makes of `sys.exit(code)`."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1
