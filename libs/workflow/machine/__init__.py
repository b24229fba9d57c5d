"""The machine that runs a workflow: `step(execution, events, now) -> changes, commands`.

Belongs here: deciding. In the order in which they build on one another:

messages      the events it is told and the commands it gives
transitions   which phase may follow which, as data
execution     what it holds in memory; `restore`: how that comes back from rows
journal       what a step has changed so far
keeping       what the end of a cached node leaves to others; `timeouts`: what is said of who took too long
endings       how nodes, graphs and the execution end
openings      how nodes get a row
recovery      what another execution has achieved
attempts      seeking a slot, reports, trying again
caching       asking the cache first, and waiting for whoever computes the same
branches      what one kind of node does, as do `subworkflows`, `children`, `gates` and `dynamics`
deadlines     time that is allowed
arrays        which items start next, and what becomes of their results; `items`: the counters of that
reading       what lies in the blob store and is read before a node goes on
starts        from being ready to a row
step          all of it, to a fixed point
preemption    whether an attempt may run where it can be interrupted
invariants    what is true after every step
"""

from libs.workflow.machine.execution import (
    SPECS_KEPT,
    Execution,
    LiveNode,
    Scope,
    inputs_of,
    item_index,
    new_execution,
)
from libs.workflow.machine.journal import Turn
from libs.workflow.machine.openings import INLINE_LIMIT_BYTES
from libs.workflow.machine.preemption import interruptible
from libs.workflow.machine.restore import restore
from libs.workflow.machine.step import Stepper, step

__all__ = [
    "INLINE_LIMIT_BYTES",
    "SPECS_KEPT",
    "Execution",
    "LiveNode",
    "Scope",
    "Stepper",
    "Turn",
    "inputs_of",
    "interruptible",
    "item_index",
    "new_execution",
    "restore",
    "step",
]
