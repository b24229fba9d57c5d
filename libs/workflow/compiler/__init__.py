"""From what a user registers to what an engine may run, or every reason why not.

The compiler turns a `WorkflowTemplate` with its sub-workflows, tasks and launch plans into a
`CompiledWorkflowClosure`: start and end nodes added, dependencies made explicit, every binding's type checked. It is
pure, its time and memory grow linearly with the template, and it never stops at the first mistake: a user sees all of
them at once, each with a code, the node it is about and what to do.

It works in two steps that need nothing of each other but their order:

1. *structure* (`prepare`, `wiring`): node ids, promises, edges, cycles. Needs no types.
2. *types* (`interfaces`, `bindings`, `conditions`, `typecheck`), node by node in topological order, so that the type
   of whatever a node reads is known by then.

The results equal those of Flyte's own compiler. Where it is silent about a mistake that can only fail later (a repeated
node id, an unknown upstream node, a branch that waits for itself), this one speaks.
"""

from __future__ import annotations

from libs.workflow.compiler.closure import compile_closure, compile_dynamic, compile_workflow
from libs.workflow.compiler.errors import Code, CompileError, CompileErrors
from libs.workflow.compiler.interfaces import LaunchPlanInterface
from libs.workflow.compiler.plans import compile_launch_plan
from libs.workflow.compiler.registered import Registered, registered
from libs.workflow.compiler.requirements import Requirements, dynamic_requirements, requirements
from libs.workflow.compiler.tasks import compile_task
from libs.workflow.compiler.together import Outcome, Spec, compile_together

__all__ = [
    "Code",
    "CompileError",
    "CompileErrors",
    "LaunchPlanInterface",
    "Outcome",
    "Registered",
    "Requirements",
    "Spec",
    "compile_closure",
    "compile_dynamic",
    "compile_launch_plan",
    "compile_task",
    "compile_together",
    "compile_workflow",
    "dynamic_requirements",
    "registered",
    "requirements",
]
