"""Launch plans: what is known of one once it fits the workflow that it launches."""

from __future__ import annotations

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import interface_pb2

from libs.workflow import launch, types
from libs.workflow.compiler.errors import Code, CompileErrors, Report
from libs.workflow.compiler.interfaces import LaunchPlanInterface
from libs.workflow.compiler.requirements import entity_id
from libs.workflow.errors import InvalidArgument


def compile_launch_plan(
    plan: launch_plan_pb2.LaunchPlan, workflow: interface_pb2.TypedInterface | None
) -> LaunchPlanInterface:
    """What workflows that run the plan need to know of it.

    `workflow` is the interface of the workflow that the plan launches; None where that is not at hand: then the plan
    must say itself what it expects and returns, as one that a server has registered does. Raises CompileErrors.
    """
    report = Report()
    _check_values(plan.spec, report)
    expected, outputs = plan.closure.expected_inputs, plan.closure.expected_outputs
    if workflow is not None:
        outputs = launch.expected_outputs(workflow)
        try:
            expected = launch.expected_inputs(workflow.inputs, plan.spec)
        except InvalidArgument as error:
            if not report:
                report.add(Code.MISMATCHING_INTERFACES, "", f"the plan does not fit its workflow: {error.message}")
    elif not plan.closure.HasField("expected_inputs"):
        report.add(
            Code.WORKFLOW_REFERENCE_NOT_FOUND,
            "",
            f"the plan launches workflow {entity_id(plan.spec.workflow_id)}, which is not at hand: give it as well",
        )
    if report:
        raise CompileErrors(f"launch plan {entity_id(plan.id)}", report.errors)
    return LaunchPlanInterface(entity_id(plan.id), expected, outputs)


def _check_values(spec: launch_plan_pb2.LaunchPlanSpec, report: Report) -> None:
    """Report values without a type that is known here: nothing can be said about what they fit."""
    for name, literal in sorted(spec.fixed_inputs.literals.items()):
        if types.type_of(literal) is None:
            _report_value(f"fixed_inputs.{name}", report)
    for name, parameter in sorted(spec.default_inputs.parameters.items()):
        if parameter.HasField("default") and types.type_of(parameter.default) is None:
            _report_value(f"default_inputs.{name}", report)


def _report_value(place: str, report: Report) -> None:
    report.add(
        Code.INVALID_LITERAL_TYPE,
        "",
        f"{place}: the value has no type that is known here: give another, or use a newer release of the engine",
    )
