"""Parts of flytekit's own that every task passes several times, doing the same with less.

Each is put in place only where flytekit has what it stands for in the form that is known; else flytekit's own stays.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
import logging
import os
import selectors
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SPANS = "_airscrew_spans"
STATE = ["working_dir", "mode", "engine_dir", "branch_eval_mode", "user_space_params"]
# flytekit's coroutines from literals to values and back.
CONVERSIONS = ("_literal_map_to_kwargs", "_output_to_literal_map")
# The names that flytekit's opening and closing of a context use.
OPENS = {
    *(
        "FlyteContextManager",
        "get_origin_stackframe",
        "set_stackframe",
        "flyte_context_Var",
        "get",
        "append",
        "set",
        "len",
    ),
    *("developer_logger", "debug", "level", "compilation_state", "in_a_condition", "get_origin_stackframe_repr"),
}
CLOSES = {
    *("flyte_context_Var", "get", "pop", "set", "developer_logger", "debug", "level", "len", "compilation_state"),
    *("in_a_condition", "get_origin_stackframe_repr", "AssertionError"),
}
TIMER = ["_name", "start_time", "_start_wall_time", "_start_process_time"]


def install() -> None:
    from flytekit.core import context_manager, type_engine, utils
    from flytekit.loggers import logger

    hold_contexts(context_manager)
    timer, state = getattr(utils, "timeit", None), getattr(context_manager, "ExecutionState", None)
    deck = getattr(context_manager.ExecutionParameters, "timeline_deck", None)
    if timer is not None and isinstance(deck, property) and sorted(vars(timer())) == sorted(TIMER):
        time_spans(timer, context_manager, logger)
    if state is not None and list(inspect.signature(state).parameters) == STATE:
        hold_states(state)
    if hasattr(type_engine.TypeEngine, "lazy_import_transformers"):
        import_once(type_engine.TypeEngine)


def time_spans(timer: Any, module: Any, logger: logging.Logger) -> None:
    """flytekit times its own steps, for the timeline of the task's deck: half of what that took was looking up names
    and composing a message that nobody reads. The deck itself is made when somebody wants it.
    """
    contexts, made = module.FlyteContextManager, module.ExecutionParameters.timeline_deck.fget
    now, utc, wall, process = datetime.datetime.now, datetime.timezone.utc, time.perf_counter, time.process_time  # noqa: UP017

    def enter(self: Any) -> Any:
        self.start_time, self._start_wall_time, self._start_process_time = now(utc), wall(), process()
        return self

    def leave(self: Any, *_: object) -> None:
        span = {
            "Name": self._name,
            "Start": self.start_time,
            "Finish": now(utc),
            "WallTime": wall() - self._start_wall_time,
            "ProcessTime": process() - self._start_process_time,
        }
        user = contexts.current_context().user_space_params
        if user.__dict__.get("_timeline_deck") is None and not user.decks:
            user.__dict__.setdefault(SPANS, []).append(span)
        else:
            user.timeline_deck.append_time_info(span)
        if logger.isEnabledFor(logging.INFO):
            logger.info(f"{self._name}. [Time: {span['WallTime']:.6f}s]")

    def timeline_deck(self: Any) -> Any:
        deck = made(self)
        for span in self.__dict__.pop(SPANS, ()):
            deck.append_time_info(span)
        return deck

    timer.__enter__, timer.__exit__ = enter, leave
    module.ExecutionParameters.timeline_deck = property(timeline_deck)


def hold_contexts(module: Any) -> None:
    """Each context that is opened or closed composes a line for flytekit's own log, which nobody reads as a rule."""
    manager = module.FlyteContextManager
    opened, closed = manager.push_context, manager.pop_context
    if set(opened.__code__.co_names) != OPENS or set(closed.__code__.co_names) != CLOSES:
        return
    logger, stack = module.developer_logger, module.flyte_context_Var

    def open_context(ctx: Any, f: Any = None) -> Any:
        if f is None or logger.isEnabledFor(logging.DEBUG):
            return opened(ctx, f)
        ctx.set_stackframe(f)
        contexts = stack.get()
        contexts.append(ctx)
        stack.set(contexts)
        return ctx

    def close_context() -> Any:
        contexts = stack.get()
        if len(contexts) < 2 or logger.isEnabledFor(logging.DEBUG):
            return closed()
        ctx = contexts.pop()
        stack.set(contexts)
        return ctx

    manager.push_context, manager.pop_context = staticmethod(open_context), staticmethod(close_context)


def hold_states(state: Any) -> None:
    """A state of an execution has a directory, which is there already as a rule."""
    make = state.__init__

    def init(
        self: Any,
        working_dir: Any,
        mode: Any = None,
        engine_dir: Any = None,
        branch_eval_mode: Any = None,
        user_space_params: Any = None,
    ) -> None:
        directory = engine_dir or os.path.join(working_dir or "", "engine_dir")
        if not working_dir or not os.path.isdir(directory):
            make(self, working_dir, mode, engine_dir, branch_eval_mode, user_space_params)
            return
        self.working_dir = working_dir
        self.mode = mode
        self.engine_dir = directory
        self.branch_eval_mode = branch_eval_mode
        self.user_space_params = user_space_params

    state.__init__ = init


def import_once(engine: Any) -> None:
    """Which libraries are imported, and so want their types known, is asked of each value of each task: it is as it was
    when it was last asked, as long as no module has come.
    """
    look, known = engine.lazy_import_transformers, 0

    def look_again() -> None:
        nonlocal known
        if len(sys.modules) != known:
            look()
            known = len(sys.modules)

    engine.lazy_import_transformers = look_again


class Conversions:
    """flytekit's `run_sync`, but what only converts values runs on a loop of the calling thread."""

    def __init__(self, elsewhere: Callable[..., Any]) -> None:
        self.elsewhere = elsewhere
        self.loop: Any = None
        self.lost: list[Any] = []  # those whose descriptors a task has closed; a destructor would close others'

    def run_sync(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if getattr(work, "__name__", "") not in CONVERSIONS or not self.ready():
            return self.elsewhere(work, *arguments, **more)
        return self.loop.run(work(*arguments, **more))

    def ready(self) -> bool:
        """Whether this is the thread that runs tasks, and no loop of it runs already."""
        if threading.current_thread() is not threading.main_thread() or asyncio._get_running_loop() is not None:
            return False
        if self.loop is None or not self.loop.sound():
            if self.loop is not None:
                self.lost.append(self.loop)
            self.loop = _QuickLoop()
        return True


_Loop: Any = asyncio.SelectorEventLoop


class _Selector:
    """One that is opened when somebody wants anything of it."""

    def __init__(self) -> None:
        self.opened: Any = None

    def __getattr__(self, name: str) -> Any:
        if self.opened is None:
            self.opened = selectors.DefaultSelector()
        return getattr(self.opened, name)

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()


class _QuickLoop(_Loop):  # type: ignore[misc]
    """Conversions hardly ever wait for anything: as long as something is ready to run, nobody asks the system.

    Before the first time that somebody waits it has no descriptor, and so may be forked.
    """

    def __init__(self) -> None:
        self.owner = 0  # the process that has opened it
        self.selector = _Selector()
        super().__init__(self.selector)

    def sound(self) -> bool:
        """Whether it can be used in this process."""
        if self.selector.opened is None:
            return True
        try:
            os.fstat(self.selector.fileno())
        except OSError:
            return False
        return self.owner == os.getpid()

    def _make_self_pipe(self) -> None:
        """It is made with the first wait: what other threads ask for before is seen without."""
        self._ssock: Any = None
        self._csock: Any = None

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            super()._close_self_pipe()

    def _run_once(self) -> None:
        if self._ssock is None:
            self.owner = os.getpid()
            super()._make_self_pipe()
        super()._run_once()

    def run(self, work: Any) -> Any:
        """As `run_until_complete`."""
        found = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
        asyncio.events._set_running_loop(self)
        try:
            task = self.create_task(work)
            while not task.done():
                if self._ready and not self._scheduled:
                    for _ in range(len(self._ready)):
                        handle = self._ready.popleft()
                        if not handle._cancelled:
                            handle._run()
                else:
                    self._run_once()
        finally:
            asyncio.events._set_running_loop(None)
            sys.set_asyncgen_hooks(*found)
        return task.result()
