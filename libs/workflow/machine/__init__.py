"""The machine that runs a workflow: `step(execution, events, now) -> changes, commands`.

Belongs here: deciding. `messages` are its events and commands, `transitions` its phases, `execution` what it holds in
memory, `restore` how that comes back from rows, `step` the machine itself, `invariants` what is true after every step.
"""

from libs.workflow.machine.execution import Execution, LiveNode, Scope, new_execution
from libs.workflow.machine.restore import restore
from libs.workflow.machine.step import INLINE_LIMIT_BYTES, Turn, step

__all__ = ["INLINE_LIMIT_BYTES", "Execution", "LiveNode", "Scope", "Turn", "new_execution", "restore", "step"]
