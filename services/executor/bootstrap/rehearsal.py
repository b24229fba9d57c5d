"""A task of ours that a zygote runs before anything is forked of it.

What flytekit and the interpreter do the first time that a piece of code runs (look things up, specialize it) they write
down in pages of memory. In a fork each of these has to be copied, for every task anew; after this they are written.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback

from flytekit import task
from flytekit.core.context_manager import FlyteEntities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from services.executor.bootstrap.leanway import LeanWay

TIMES = 30  # enough for the interpreter to have specialized all of it
LIMIT = 16 << 10
WORDS = (
    *("pyflyte-execute", "--inputs", "/nowhere/inputs.pb", "--output-prefix", "/nowhere/out"),
    *("--raw-output-data-prefix", "/nowhere/raw", "--checkpoint-path", "/nowhere/check", "--prev-checkpoint", '""'),
    *("--resolver", "flytekit.core.python_auto_container.default_task_resolver", "--"),
    *("task-module", __name__, "task-name", "rehearsed"),
)


def returns(x: int) -> int:
    return x


rehearsed = task(returns)
FlyteEntities.entities.remove(rehearsed)  # it is none of the user's


def rehearse(way: LeanWay, desks: ModuleType, desk: str) -> None:
    """Runs it in this process, unless that leaves a thread or goes wrong: a fork finds out.

    All that stays of it are the directories `desk`, which flytekit has for what modules do when they are imported.
    """
    if not way.fits:
        return
    child = os.fork()
    if child == 0:
        sound = False
        try:
            run(way, desks, desk, 1)
            sound = threading.active_count() == 1
        except BaseException:
            traceback.print_exc()
        os._exit(not sound)
    if os.waitpid(child, 0)[1] == 0:
        run(way, desks, desk, TIMES)


def run(way: LeanWay, desks: ModuleType, desk: str, times: int) -> None:
    from flytekit.models import literals

    value = literals.Literal(scalar=literals.Scalar(primitive=literals.Primitive(integer=1)))
    inputs = literals.LiteralMap(literals={"x": value}).to_flyte_idl().SerializeToString()
    desks.make(desk)
    way.settle(desk)
    for _ in range(times):
        result = way.run([*WORDS], inputs, LIMIT, True, {})
        if result.code != 0 or result.outputs is None:
            raise RuntimeError(f"the rehearsal has ended with code {result.code}")
    way.forget()
    sys.stdout.flush()
    sys.stderr.flush()
