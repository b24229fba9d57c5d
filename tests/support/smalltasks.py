"""Registrations made by hand: tasks that need only the standard library, and workflows of many of them.

An attempt of a flytekit task costs a second of processor time for imports alone; tests that need hundreds of attempts
use these, which are the same thing on the wire: a TaskTemplate of type `python-task` with a container's command line.
Their image names a task environment in which `pyflyte-execute` is a little program of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flyteidl.admin import common_pb2 as common
from flyteidl.admin import execution_pb2 as execution
from flyteidl.admin import launch_plan_pb2 as launch_plan
from flyteidl.admin import project_pb2 as project
from flyteidl.admin import task_pb2 as task_messages
from flyteidl.admin import workflow_pb2 as workflow_messages
from flyteidl.core import identifier_pb2 as identifier
from flyteidl.core import interface_pb2 as interface
from flyteidl.core import literals_pb2 as literals
from flyteidl.core import tasks_pb2 as tasks
from flyteidl.core import workflow_pb2 as workflow

from tests.support import flyte, markers

VERSION = "small"
IMAGE = "localhost/small:1"
"""Systems map it to an environment of `markers.make_environment`."""


@dataclass(frozen=True)
class Registrar:
    """Registers and launches through bare stubs, in one project and domain."""

    stubs: flyte.Stubs
    project: str = flyte.PROJECT
    domain: str = flyte.DOMAIN

    def id(self, kind: int, name: str, version: str = VERSION) -> identifier.Identifier:
        return identifier.Identifier(
            resource_type=kind,
            project=self.project,
            domain=self.domain,
            name=name,
            version=version,
        )

    def execution_id(self, name: str) -> identifier.WorkflowExecutionIdentifier:
        return identifier.WorkflowExecutionIdentifier(project=self.project, domain=self.domain, name=name)

    def marking_task(
        self, name: str, marks: Path, seconds: float, *, children: int = 0, retries: int = 0, cached: bool = False
    ) -> identifier.Identifier:
        """A task without inputs or outputs that marks its start, sleeps, and marks its end."""
        return self.task(name, markers.arguments(marks, seconds, children), retries=retries, cached=cached)

    def task(
        self,
        name: str,
        args: Sequence[str],
        *,
        inputs: interface.VariableMap | None = None,
        outputs: interface.VariableMap | None = None,
        retries: int = 0,
        cached: bool = False,
        version: str = VERSION,
    ) -> identifier.Identifier:
        """Any command line as a task."""
        id_ = self.id(identifier.TASK, name, version)
        template = tasks.TaskTemplate(
            id=id_,
            type="python-task",
            metadata=tasks.TaskMetadata(
                runtime=tasks.RuntimeMetadata(type=tasks.RuntimeMetadata.FLYTE_SDK, version="1", flavor="python"),
                retries=literals.RetryStrategy(retries=retries),
                discoverable=cached,
                discovery_version="1" if cached else "",
            ),
            interface=interface.TypedInterface(
                inputs=inputs or interface.VariableMap(), outputs=outputs or interface.VariableMap()
            ),
            container=tasks.Container(image=IMAGE, args=args),
        )
        self.stubs.admin.CreateTask(
            task_messages.TaskCreateRequest(id=id_, spec=task_messages.TaskSpec(template=template)), timeout=10
        )
        return id_

    def lanes(self, name: str, task: identifier.Identifier, *, lanes: int, length: int = 1) -> identifier.Identifier:
        """A workflow of parallel lanes, each a chain of `length` nodes: node `a0` to `a{lanes-1}`, then `b0` …"""
        nodes = [
            workflow.Node(
                id=f"{chr(ord('a') + step)}{lane}",
                metadata=workflow.NodeMetadata(name=f"step {step} of lane {lane}"),
                task_node=workflow.TaskNode(reference_id=task),
                upstream_node_ids=[f"{chr(ord('a') + step - 1)}{lane}"] if step else [],
            )
            for step in range(length)
            for lane in range(lanes)
        ]
        return self.workflow(name, nodes)

    def workflow(
        self,
        name: str,
        nodes: Sequence[workflow.Node],
        *,
        inputs: interface.VariableMap | None = None,
        version: str = VERSION,
    ) -> identifier.Identifier:
        """A workflow without outputs, and its launch plan of the same name; the id of the launch plan."""
        id_ = self.id(identifier.WORKFLOW, name, version)
        template = workflow.WorkflowTemplate(
            id=id_,
            interface=interface.TypedInterface(
                inputs=inputs or interface.VariableMap(), outputs=interface.VariableMap()
            ),
            nodes=nodes,
        )
        spec = workflow_messages.WorkflowSpec(template=template)
        self.stubs.admin.CreateWorkflow(workflow_messages.WorkflowCreateRequest(id=id_, spec=spec), timeout=10)
        return self.launch_plan(name, id_, version=version)

    def launch_plan(
        self,
        name: str,
        workflow_id: identifier.Identifier,
        *,
        defaults: interface.ParameterMap | None = None,
        fixed: literals.LiteralMap | None = None,
        version: str = VERSION,
    ) -> identifier.Identifier:
        id_ = self.id(identifier.LAUNCH_PLAN, name, version)
        spec = launch_plan.LaunchPlanSpec(
            workflow_id=workflow_id,
            default_inputs=defaults or interface.ParameterMap(),
            fixed_inputs=fixed or literals.LiteralMap(),
        )
        self.stubs.admin.CreateLaunchPlan(launch_plan.LaunchPlanCreateRequest(id=id_, spec=spec), timeout=10)
        return id_

    def launch(
        self,
        entity: identifier.Identifier,
        name: str = "",
        *,
        inputs: literals.LiteralMap | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> identifier.WorkflowExecutionIdentifier:
        """Starts an execution of a launch plan or of a single task."""
        reply = self.stubs.admin.CreateExecution(
            self.launch_request(entity, name, inputs=inputs), timeout=10, metadata=tuple(metadata)
        )
        launched: identifier.WorkflowExecutionIdentifier = reply.id
        return launched

    def launch_request(
        self, entity: identifier.Identifier, name: str = "", *, inputs: literals.LiteralMap | None = None
    ) -> execution.ExecutionCreateRequest:
        return execution.ExecutionCreateRequest(
            project=self.project,
            domain=self.domain,
            name=name,
            spec=execution.ExecutionSpec(
                launch_plan=entity, metadata=execution.ExecutionMetadata(mode=execution.ExecutionMetadata.MANUAL)
            ),
            inputs=inputs or literals.LiteralMap(),
        )

    def abort(self, id_: identifier.WorkflowExecutionIdentifier, cause: str) -> None:
        request = execution.ExecutionTerminateRequest(id=id_, cause=cause)
        self.stubs.admin.TerminateExecution(request, timeout=10)

    def get(self, id_: identifier.WorkflowExecutionIdentifier) -> execution.Execution:
        reply: execution.Execution = self.stubs.admin.GetExecution(
            execution.WorkflowExecutionGetRequest(id=id_), timeout=10
        )
        return reply

    def register_project(self) -> None:
        """Makes this registrar's project known."""
        self.stubs.admin.RegisterProject(
            project.ProjectRegisterRequest(project=project.Project(id=self.project, name=self.project)), timeout=10
        )

    def names(self, kind: int) -> list[str]:
        """Names of what is registered of a kind, in this project and domain."""
        request = common.NamedEntityIdentifierListRequest(project=self.project, domain=self.domain, limit=1000)
        call = {
            identifier.TASK: self.stubs.admin.ListTaskIds,
            identifier.WORKFLOW: self.stubs.admin.ListWorkflowIds,
            identifier.LAUNCH_PLAN: self.stubs.admin.ListLaunchPlanIds,
        }[kind]
        return sorted(entity.name for entity in call(request, timeout=10).entities)


def settings(folder: Path, *, slots: int) -> dict[str, str]:
    """What a system must be told so that it runs small tasks, and `slots` tasks at a time. Writes into `folder`."""
    return {
        "AIRSCREW_EXECUTOR_TASK_ENVIRONMENTS": f"{IMAGE}={markers.make_environment(folder)}",
        "AIRSCREW_EXECUTOR_CPU_MILLIS": str(1000 * slots),
        "AIRSCREW_EXECUTOR_MEMORY_BYTES": str(256 << 30),
    }
