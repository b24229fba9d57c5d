"""`flyteidl.service.AdminService`. What is not here answers UNIMPLEMENTED with its name."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    project_pb2,
    task_execution_pb2,
    task_pb2,
    version_pb2,
    workflow_pb2,
)
from flyteidl.core import identifier_pb2
from flyteidl.service import admin_pb2_grpc

from libs.rpc import server
from libs.runtime.clock import Clock
from libs.store.executions import AttemptRecord, Executions
from libs.store.trees import Trees
from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.state import NodeState
from services.admin import arrays, encode, identifiers, paging, version
from services.admin.api.checked import checked
from services.admin.api.traceparent import traceparent
from services.admin.arrays import Array, Arrays
from services.admin.data import Literals, outputs_of
from services.admin.launch import Launcher
from services.admin.metrics import Metrics
from services.admin.projects import Projects
from services.admin.registry import Registration
from services.admin.related import related

_TASK = identifier_pb2.TASK
_WORKFLOW = identifier_pb2.WORKFLOW
_LAUNCH_PLAN = identifier_pb2.LAUNCH_PLAN


@server.unimplemented
@checked
class AdminApi(admin_pb2_grpc.AdminServiceServicer):
    """Flyte's main service."""

    def __init__(
        self,
        registration: Registration,
        launcher: Launcher,
        executions: Executions,
        projects: Projects,
        literals: Literals,
        trees: Trees,
        clock: Clock,
    ) -> None:
        self.backend = registration.backend
        self._registration = registration
        self._launcher = launcher
        self._executions = executions
        self._projects = projects
        self._literals = literals
        self._trees = trees
        self._clock = clock
        self._arrays = Arrays(executions, trees)

    # ----------------------------------------------------------------------------------------------- what is registered

    async def CreateTask(self, request: task_pb2.TaskCreateRequest, context: Any) -> task_pb2.TaskCreateResponse:
        await self._registration.create_task(request)
        return task_pb2.TaskCreateResponse()

    async def GetTask(self, request: common_pb2.ObjectGetRequest, context: Any) -> task_pb2.Task:
        return encode.task(await self._registration.task(identifiers.entity(request.id, _TASK)))

    async def ListTasks(self, request: common_pb2.ResourceListRequest, context: Any) -> task_pb2.TaskList:
        page = await self._registration.list_tasks(request)
        return task_pb2.TaskList(tasks=map(encode.task, page.items), token=page.token)

    async def ListTaskIds(
        self, request: common_pb2.NamedEntityIdentifierListRequest, context: Any
    ) -> common_pb2.NamedEntityIdentifierList:
        return await self._list_ids(_TASK, request)

    async def CreateWorkflow(
        self, request: workflow_pb2.WorkflowCreateRequest, context: Any
    ) -> workflow_pb2.WorkflowCreateResponse:
        await self._registration.create_workflow(request)
        return workflow_pb2.WorkflowCreateResponse()

    async def GetWorkflow(self, request: common_pb2.ObjectGetRequest, context: Any) -> workflow_pb2.Workflow:
        return encode.workflow(await self._registration.workflow(identifiers.entity(request.id, _WORKFLOW)))

    async def ListWorkflows(self, request: common_pb2.ResourceListRequest, context: Any) -> workflow_pb2.WorkflowList:
        page = await self._registration.list_workflows(request)
        return workflow_pb2.WorkflowList(workflows=map(encode.workflow_row, page.items), token=page.token)

    async def ListWorkflowIds(
        self, request: common_pb2.NamedEntityIdentifierListRequest, context: Any
    ) -> common_pb2.NamedEntityIdentifierList:
        return await self._list_ids(_WORKFLOW, request)

    async def CreateLaunchPlan(
        self, request: launch_plan_pb2.LaunchPlanCreateRequest, context: Any
    ) -> launch_plan_pb2.LaunchPlanCreateResponse:
        await self._registration.create_launch_plan(request)
        return launch_plan_pb2.LaunchPlanCreateResponse()

    async def GetLaunchPlan(self, request: common_pb2.ObjectGetRequest, context: Any) -> launch_plan_pb2.LaunchPlan:
        return encode.launch_plan(await self._registration.launch_plan(identifiers.entity(request.id, _LAUNCH_PLAN)))

    async def GetActiveLaunchPlan(
        self, request: launch_plan_pb2.ActiveLaunchPlanRequest, context: Any
    ) -> launch_plan_pb2.LaunchPlan:
        return encode.launch_plan(await self._registration.active_launch_plan(*identifiers.named(request.id)))

    async def ListLaunchPlans(
        self, request: common_pb2.ResourceListRequest, context: Any
    ) -> launch_plan_pb2.LaunchPlanList:
        page = await self._registration.list_launch_plans(request)
        return launch_plan_pb2.LaunchPlanList(launch_plans=map(encode.launch_plan, page.items), token=page.token)

    async def ListActiveLaunchPlans(
        self, request: launch_plan_pb2.ActiveLaunchPlanListRequest, context: Any
    ) -> launch_plan_pb2.LaunchPlanList:
        page = await self._registration.list_active_launch_plans(request)
        return launch_plan_pb2.LaunchPlanList(launch_plans=map(encode.launch_plan, page.items), token=page.token)

    async def ListLaunchPlanIds(
        self, request: common_pb2.NamedEntityIdentifierListRequest, context: Any
    ) -> common_pb2.NamedEntityIdentifierList:
        return await self._list_ids(_LAUNCH_PLAN, request)

    async def UpdateLaunchPlan(
        self, request: launch_plan_pb2.LaunchPlanUpdateRequest, context: Any
    ) -> launch_plan_pb2.LaunchPlanUpdateResponse:
        await self._registration.set_state(identifiers.entity(request.id, _LAUNCH_PLAN), request.state)
        return launch_plan_pb2.LaunchPlanUpdateResponse()

    async def _list_ids(
        self, kind: int, request: common_pb2.NamedEntityIdentifierListRequest
    ) -> common_pb2.NamedEntityIdentifierList:
        page = await self._registration.list_ids(kind, request)
        return common_pb2.NamedEntityIdentifierList(entities=map(encode.named_id, page.items), token=page.token)

    # ------------------------------------------------------------------------------------------------------- executions

    async def CreateExecution(
        self, request: execution_pb2.ExecutionCreateRequest, context: Any
    ) -> execution_pb2.ExecutionCreateResponse:
        created = await self._launcher.create(request, traceparent(context))
        return execution_pb2.ExecutionCreateResponse(id=encode.execution_id(created))

    async def RelaunchExecution(
        self, request: execution_pb2.ExecutionRelaunchRequest, context: Any
    ) -> execution_pb2.ExecutionCreateResponse:
        created = await self._launcher.relaunch(request, traceparent(context))
        return execution_pb2.ExecutionCreateResponse(id=encode.execution_id(created))

    async def RecoverExecution(
        self, request: execution_pb2.ExecutionRecoverRequest, context: Any
    ) -> execution_pb2.ExecutionCreateResponse:
        created = await self._launcher.recover(request, traceparent(context))
        return execution_pb2.ExecutionCreateResponse(id=encode.execution_id(created))

    async def TerminateExecution(
        self, request: execution_pb2.ExecutionTerminateRequest, context: Any
    ) -> execution_pb2.ExecutionTerminateResponse:
        await self._launcher.terminate(identifiers.execution(request.id), request.cause)
        return execution_pb2.ExecutionTerminateResponse()

    async def GetExecution(
        self, request: execution_pb2.WorkflowExecutionGetRequest, context: Any
    ) -> execution_pb2.Execution:
        return encode.execution(await self._executions.get(identifiers.execution(request.id)))

    async def ListExecutions(
        self, request: common_pb2.ResourceListRequest, context: Any
    ) -> execution_pb2.ExecutionList:
        project, domain, name = identifiers.listed(request.id)
        page = await self._executions.list(paging.query(request, project=project, domain=domain, name=name))
        return execution_pb2.ExecutionList(executions=map(encode.execution, page.items), token=page.token)

    async def GetExecutionData(
        self, request: execution_pb2.WorkflowExecutionGetDataRequest, context: Any
    ) -> execution_pb2.WorkflowExecutionGetDataResponse:
        state = (await self._executions.get(identifiers.execution(request.id))).execution
        inputs, outputs = await self._literals.show(state.inputs), await self._literals.show(state.outputs)
        return execution_pb2.WorkflowExecutionGetDataResponse(
            inputs=inputs.url, full_inputs=inputs.full, outputs=outputs.url, full_outputs=outputs.full
        )

    async def GetExecutionMetrics(
        self, request: execution_pb2.WorkflowExecutionGetMetricsRequest, context: Any
    ) -> execution_pb2.WorkflowExecutionGetMetricsResponse:
        metrics = Metrics(self._executions, self._trees, self._clock)
        span = await metrics.of(identifiers.execution(request.id), request.depth)
        return execution_pb2.WorkflowExecutionGetMetricsResponse(span=span)

    # ----------------------------------------------------------------------------------------------- nodes and attempts

    async def GetNodeExecution(
        self, request: node_execution_pb2.NodeExecutionGetRequest, context: Any
    ) -> node_execution_pb2.NodeExecution:
        owner, node_id = identifiers.node(request.id)
        node = await self._executions.get_node(owner, node_id)
        return encode.node(owner, node, await related(self._trees, [node]))

    async def ListNodeExecutions(
        self, request: node_execution_pb2.NodeExecutionListRequest, context: Any
    ) -> node_execution_pb2.NodeExecutionList:
        owner = identifiers.execution(request.workflow_execution_id, "workflow_execution_id")
        page = await self._executions.list_nodes(paging.query(request), owner, request.unique_parent_id)
        about = await related(self._trees, page.items)
        nodes = (encode.node(owner, node, about) for node in page.items)
        return node_execution_pb2.NodeExecutionList(node_executions=nodes, token=page.token)

    async def GetNodeExecutionData(
        self, request: node_execution_pb2.NodeExecutionGetDataRequest, context: Any
    ) -> node_execution_pb2.NodeExecutionGetDataResponse:
        owner, node_id = identifiers.node(request.id)
        node = await self._executions.get_node(owner, node_id)
        inputs, outputs = await self._literals.show(node.inputs), await self._literals.show(node.outputs)
        return node_execution_pb2.NodeExecutionGetDataResponse(
            inputs=inputs.url,
            full_inputs=inputs.full,
            outputs=outputs.url,
            full_outputs=outputs.full,
            dynamic_workflow=await self._dynamic(node),
            flyte_urls=encode.flyte_urls(owner, node),
        )

    async def GetDynamicNodeWorkflow(
        self, request: node_execution_pb2.GetDynamicNodeWorkflowRequest, context: Any
    ) -> node_execution_pb2.DynamicNodeWorkflowResponse:
        owner, node_id = identifiers.node(request.id)
        dynamic = await self._dynamic(await self._executions.get_node(owner, node_id))
        if dynamic is None:
            raise NotFound(f"node {node_id!r} of execution {owner} has no dynamic workflow, or not yet")
        return node_execution_pb2.DynamicNodeWorkflowResponse(compiled_workflow=dynamic.compiled_workflow)

    async def _dynamic(self, node: NodeState) -> node_execution_pb2.DynamicWorkflowNodeMetadata | None:
        """The nodes that a dynamic node has asked for."""
        if node.closure_uri is None:
            return None
        closure = await self._literals.closure(node.closure_uri)
        return node_execution_pb2.DynamicWorkflowNodeMetadata(
            id=closure.primary.template.id,
            compiled_workflow=closure,
            dynamic_job_spec_uri=node.futures_uri or "",
        )

    async def GetTaskExecution(
        self, request: task_execution_pb2.TaskExecutionGetRequest, context: Any
    ) -> task_execution_pb2.TaskExecution:
        owner, found = await self._attempt(request.id)
        if isinstance(found, Array):
            return arrays.task_execution(owner, found, self._log_url)
        return encode.attempt(owner, found, self._log_url)

    async def ListTaskExecutions(
        self, request: task_execution_pb2.TaskExecutionListRequest, context: Any
    ) -> task_execution_pb2.TaskExecutionList:
        owner, node_id = identifiers.node(request.node_execution_id, "node_execution_id")
        page = await self._executions.list_attempts(paging.query(request), owner, node_id)
        attempts = [encode.attempt(owner, record, self._log_url) for record in page.items]
        if not attempts and not request.token and (array := await self._arrays.find(owner, node_id)):
            attempts.append(arrays.task_execution(owner, array, self._log_url))
        return task_execution_pb2.TaskExecutionList(task_executions=attempts, token=page.token)

    async def GetTaskExecutionData(
        self, request: task_execution_pb2.TaskExecutionGetDataRequest, context: Any
    ) -> task_execution_pb2.TaskExecutionGetDataResponse:
        owner, found = await self._attempt(request.id)
        inputs = await self._literals.show(found.node.inputs)
        outputs = await self._literals.show(found.node.outputs if isinstance(found, Array) else outputs_of(found))
        return task_execution_pb2.TaskExecutionGetDataResponse(
            inputs=inputs.url,
            full_inputs=inputs.full,
            outputs=outputs.url,
            full_outputs=outputs.full,
            flyte_urls=encode.flyte_urls(owner, found.node, request.id.retry_attempt),
        )

    async def _attempt(self, id: identifier_pb2.TaskExecutionIdentifier) -> tuple[ExecutionId, AttemptRecord | Array]:
        """An attempt; of an array node over a task the one that it is shown to have."""
        owner, node_id, number = identifiers.attempt(id)
        found: AttemptRecord | Array
        try:
            found = await self._executions.get_attempt(owner, node_id, number)
            task = found.node.task
        except NotFound:
            array = await self._arrays.find(owner, node_id) if number == arrays.ATTEMPT else None
            if array is None:
                raise
            found, task = array, array.task
        if id.HasField("task_id") and identifiers.entity(id.task_id, _TASK, "id.task_id") != task:
            raise NotFound(f"id.task_id: node {node_id!r} of execution {owner} runs another task")
        return owner, found

    def _log_url(self, uri: str) -> str:
        return self._literals.address(uri).url

    # ------------------------------------------------------------------------------------------------- the installation

    async def RegisterProject(
        self, request: project_pb2.ProjectRegisterRequest, context: Any
    ) -> project_pb2.ProjectRegisterResponse:
        await self._projects.register(request)
        return project_pb2.ProjectRegisterResponse()

    async def ListProjects(self, request: project_pb2.ProjectListRequest, context: Any) -> project_pb2.Projects:
        page = await self._projects.list(paging.query(request))
        projects = (encode.project(record, self._projects.domains) for record in page.items)
        return project_pb2.Projects(projects=projects, token=page.token)

    async def GetDomains(self, request: project_pb2.GetDomainRequest, context: Any) -> project_pb2.GetDomainsResponse:
        return project_pb2.GetDomainsResponse(domains=map(encode.domain, self._projects.domains))

    async def GetVersion(self, request: version_pb2.GetVersionRequest, context: Any) -> version_pb2.GetVersionResponse:
        # flytekit takes a version that begins with "v", or "unknown".
        return version_pb2.GetVersionResponse(control_plane_version=version_pb2.Version(Version=version.display()))
