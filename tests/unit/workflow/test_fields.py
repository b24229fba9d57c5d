from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2, security_pb2, tasks_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from libs.workflow import fields
from libs.workflow.backend import Backend
from libs.workflow.errors import AirscrewError, InvalidArgument, Unimplemented
from tests.support.flytetypes import INTEGER
from tests.support.templates import node, plan_node, sub_node, task_template, workflow

SECRET = security_pb2.SecurityContext(secrets=[security_pb2.Secret(key="k")])
TOKEN = security_pb2.SecurityContext(tokens=[security_pb2.OAuth2TokenRequest(name="t")])
SPEC = execution_pb2.ExecutionSpec
PLAN = launch_plan_pb2.LaunchPlanSpec


def descriptor(message: str) -> Descriptor:
    found: Descriptor = descriptor_pool.Default().FindMessageTypeByName(message)
    return found


@pytest.mark.parametrize("message", sorted(fields.FIELDS))
def test_the_table_has_every_field_of_every_message_it_names(message: str) -> None:
    assert set(fields.FIELDS[message]) == set(descriptor(message).fields_by_name)


def test_whatever_an_enforced_field_can_carry_is_in_the_table_or_understood_as_a_whole() -> None:
    assert sorted(undecided()) == []


def undecided() -> Iterator[str]:
    for message, rules in fields.FIELDS.items():
        for field in descriptor(message).fields:
            kind = field.message_type
            if kind is not None and kind.GetOptions().map_entry:
                kind = kind.fields_by_name["value"].message_type
            if kind is None or rules[field.name].fate is not fields.Fate.ENFORCED:
                continue
            if kind.full_name not in fields.FIELDS and kind.full_name not in fields.AS_A_WHOLE:
                yield f"{message}.{field.name}: {kind.full_name}"


def test_no_message_is_in_two_chapters() -> None:
    assert len(fields.FIELDS) == sum(map(len, fields.CHAPTERS.values()))


def test_whatever_is_not_enforced_has_a_reason_and_only_what_is_refused_an_error() -> None:
    for message, rules in fields.FIELDS.items():
        for field, rule in rules.items():
            assert rule.fate is fields.Fate.ENFORCED or rule.reason, f"{message}.{field}"
            assert (rule.fate is fields.Fate.REFUSED) == (rule.error is not None), f"{message}.{field}"


REFUSED = [
    (message, field)
    for message, rules in sorted(fields.FIELDS.items())
    for field, rule in rules.items()
    if rule.fate is fields.Fate.REFUSED
]


@pytest.mark.parametrize(("message", "field"), REFUSED)
def test_a_refused_field_is_refused_by_its_path_once_it_says_something(message: str, field: str) -> None:
    request = saying_something(message, field)
    with pytest.raises(AirscrewError) as caught:
        fields.refuse(request, "spec")
    assert caught.value.message.startswith(f"spec.{field}: ")


TAKEN = [
    (message, field)
    for message, rules in sorted(fields.FIELDS.items())
    for field, rule in rules.items()
    if rule.fate is not fields.Fate.REFUSED and (message, field) != ("flyteidl.core.KeyValuePair", "value")
]


AS_PODS = [(message, field) for message, field in (*REFUSED, *TAKEN) if fields.FIELDS[message][field].as_pod]


@pytest.mark.parametrize(("message", "field"), AS_PODS)
def test_what_only_pods_can_do_is_taken_where_tasks_are_pods(message: str, field: str) -> None:
    rule = fields.FIELDS[message][field]
    assert rule.under(Backend.PROCESS) is rule
    assert rule.under(Backend.POD).fate is fields.Fate.ENFORCED
    fields.refuse(saying_something(message, field), "spec", backend=Backend.POD)


@pytest.mark.parametrize(("message", "field"), TAKEN)
def test_a_field_that_is_enforced_or_recorded_is_taken(message: str, field: str) -> None:
    if message == "flyteidl.admin.RawOutputDataConfig":
        fields.refuse(common_pb2.RawOutputDataConfig(output_location_prefix="/data"))
    else:
        fields.refuse(saying_something(message, field), "spec")


def saying_something(message: str, field: str) -> Message:
    found = descriptor(message)
    request: Any = message_factory.GetMessageClass(found)()
    described = found.fields_by_name[field]
    kind = described.message_type
    text = {described.TYPE_STRING: "x", described.TYPE_BYTES: b"x"}.get(described.type, 1)
    if kind is not None and kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].message_type is not None:
            getattr(request, field)["k"].SetInParent()
        else:
            getattr(request, field)["k"] = "v"
    elif kind is not None and described.is_repeated:
        entry = getattr(request, field).add()
        if kind.full_name == "flyteidl.core.KeyValuePair":
            entry.key = "k"
    elif kind is not None:
        # Any bytes of an unknown field: what matters is that the message is not empty.
        getattr(request, field).MergeFromString(b"\xfa\x7f\x01a")
    elif described.is_repeated:
        getattr(request, field).append(text)
    else:
        setattr(request, field, text)
    return request  # type: ignore[no-any-return]


def container(**changed: Any) -> task_pb2.TaskCreateRequest:
    template = task_template("t", {"a": INTEGER})
    template.container.MergeFrom(tasks_pb2.Container(**changed))
    return task_pb2.TaskCreateRequest(spec=task_pb2.TaskSpec(template=template))


def registered(*nodes: core_workflow_pb2.Node) -> workflow_pb2.WorkflowCreateRequest:
    return workflow_pb2.WorkflowCreateRequest(spec=workflow_pb2.WorkflowSpec(template=workflow(*nodes)))


IN_A_POD = core_workflow_pb2.Node(id="n9", task_node={"overrides": {"pod_template": {"primary_container_name": "c"}}})
ARRAY = core_workflow_pb2.Node(id="n0", array_node={"node": IN_A_POD})
BRANCH = core_workflow_pb2.Node(id="n1", branch_node={"if_else": {"case": {"then_node": ARRAY}}})
POD = "task_node.overrides.pod_template: "
PATHS: list[tuple[Message, type[AirscrewError], str]] = [
    (execution_pb2.ExecutionCreateRequest(org="o"), InvalidArgument, "org: "),
    (
        execution_pb2.ExecutionCreateRequest(spec=SPEC(launch_plan={"org": "o"})),
        InvalidArgument,
        "spec.launch_plan.org: ",
    ),
    (
        execution_pb2.ExecutionCreateRequest(spec=SPEC(security_context=TOKEN)),
        Unimplemented,
        "spec.security_context.tokens: ",
    ),
    (container(data_config={"enabled": True}), Unimplemented, "spec.template.container.data_config: "),
    (registered(node("n1", "t"), ARRAY), Unimplemented, f"spec.template.nodes.n0.array_node.node.{POD}"),
    (
        registered(BRANCH),
        Unimplemented,
        f"spec.template.nodes.n1.branch_node.if_else.case.then_node.array_node.node.{POD}",
    ),
    (
        workflow_pb2.WorkflowCreateRequest(
            spec=workflow_pb2.WorkflowSpec(sub_workflows=[workflow(ARRAY, name="inner")])
        ),
        Unimplemented,
        f"spec.sub_workflows.inner.nodes.n0.array_node.node.{POD}",
    ),
    (
        launch_plan_pb2.LaunchPlanCreateRequest(
            spec=PLAN(default_inputs={"parameters": {"x": {"artifact_id": {"version": "1"}}}})
        ),
        Unimplemented,
        "spec.default_inputs.parameters.x.artifact_id: ",
    ),
    (
        project_pb2.ProjectRegisterRequest(project={"id": "p", "state": project_pb2.Project.ARCHIVED}),
        Unimplemented,
        "project.state: ",
    ),
]


def test_what_an_enforced_field_holds_is_held_against_the_same_backend() -> None:
    fields.refuse(registered(BRANCH), backend=Backend.POD)
    fields.refuse(container(data_config={"enabled": True}), backend=Backend.POD)
    with pytest.raises(InvalidArgument, match=r"spec\.template\.container\.data_config\.format: 9 is none of JSON"):
        fields.refuse(container(data_config={"enabled": True, "format": 9}), backend=Backend.POD)


@pytest.mark.parametrize(("request_", "error", "start"), PATHS)
def test_a_refusal_names_the_field_however_deep_it_lies(
    request_: Message, error: type[AirscrewError], start: str
) -> None:
    with pytest.raises(error) as caught:
        fields.refuse(request_)
    assert caught.value.message.startswith(start)


def launched(**spec: Any) -> execution_pb2.ExecutionCreateRequest:
    return execution_pb2.ExecutionCreateRequest(spec=SPEC(**spec))


def configured(key: str, value: str) -> task_pb2.TaskCreateRequest:
    request = container()
    request.spec.template.config[key] = value
    return request


def cached(version: str) -> task_pb2.TaskCreateRequest:
    request = container()
    request.spec.template.metadata.discoverable = True
    request.spec.template.metadata.discovery_version = version
    return request


VALUES: list[tuple[Message, str]] = [
    (launched(metadata={"mode": 99}), "spec.metadata.mode: 99 is none of MANUAL, "),
    (
        workflow_pb2.WorkflowCreateRequest(spec={"template": {"metadata": {"on_failure": -1}}}),
        "spec.template.metadata.on_failure: -1 is none of FAIL_IMMEDIATELY, ",
    ),
    (container(args=["a\0b"]), "spec.template.container.args: contains a NUL"),
    (container(env=[{"key": "A=B"}]), "spec.template.container.env.key: 'A=B' cannot be the name"),
    (container(env=[{"key": "A", "value": "\0"}]), "spec.template.container.env.value: contains a NUL"),
    (launched(envs={"values": [{"value": "x"}]}), "spec.envs.values.key: '' cannot be the name"),
    (launched(tags=["\0"]), "spec.tags: contains a NUL"),
    (
        launched(annotations={"values": {"airscrew/deadline": "soon"}}),
        "spec.annotations.values[airscrew/deadline]: 'soon'",
    ),
    (
        launched(annotations={"values": {"airscrew/dead-line": "5s"}}),
        "spec.annotations.values[airscrew/dead-line]: there",
    ),
    (
        launch_plan_pb2.LaunchPlanCreateRequest(spec=PLAN(annotations={"values": {"airscrew/deadline": "-5s"}})),
        "spec.annotations.values[airscrew/deadline]: '-5s' is no duration",
    ),
    (configured("airscrew/retry.backoff", "2h"), "spec.template.config[airscrew/retry.backoff]: '2h' is not between"),
    (configured("airscrew/reuse", "yes"), "spec.template.config[airscrew/reuse]: 'yes' is neither"),
    (configured("airscrew/warm", ""), "spec.template.config[airscrew/warm]: '' is neither"),
    (configured("airscrew/retries", "2"), "spec.template.config[airscrew/retries]: there is no such option"),
    (cached(""), "spec.template.metadata.discovery_version: a task whose outputs are cached needs one"),
    *(
        (
            launched(raw_output_data_config={"output_location_prefix": prefix}),
            f"spec.raw_output_data_config.output_location_prefix: {prefix!r} is neither",
        )
        for prefix in ("relative", "../../a", " ", "/a\n", "://a")
    ),
]


@pytest.mark.parametrize(("request_", "start"), VALUES)
def test_a_value_that_no_such_field_can_have_is_refused(request_: Message, start: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        fields.refuse(request_)
    assert caught.value.message.startswith(start)


@pytest.mark.parametrize("prefix", ["", "/var/data", "s3://bucket/ä b", "gs://bucket", "file:///tmp/x"])
def test_raw_outputs_go_to_an_absolute_path_or_an_address(prefix: str) -> None:
    fields.refuse(launched(raw_output_data_config={"output_location_prefix": prefix}))


def test_options_of_this_engine_pass_and_keys_of_others_do() -> None:
    fields.refuse(launched(annotations={"values": {"airscrew/deadline": "1h30m", "team": "soon"}}))
    fields.refuse(configured("airscrew/retry.backoff", "500ms"))
    fields.refuse(configured("airscrew/reuse", "true"))
    fields.refuse(configured("airscrew/warm", "false"))
    fields.refuse(configured("primary_container_name", "main"))
    fields.refuse(cached("1"))


def test_what_is_enforced_or_recorded_passes() -> None:
    spec = SPEC(
        launch_plan=identifier_pb2.Identifier(name="lp"),
        tags=["t"],
        max_parallelism=3,
        overwrite_cache=True,
        disable_all=True,
        envs={"values": [{"key": "a"}]},
        security_context={"run_as": {"iam_role": "r"}, "secrets": SECRET.secrets},
        interruptible={"value": False},
        quality_of_service={"spec": {"queueing_budget": {"seconds": 3}}},
    )
    fields.refuse(execution_pb2.ExecutionCreateRequest(project="p", domain="d", name="n", spec=spec))
    fields.refuse(PLAN(max_parallelism=3, entity_metadata={"schedule": {"cron_expression": "* * * * *"}}))


def test_every_kind_of_node_passes() -> None:
    gate = core_workflow_pb2.Node(id="n2", gate_node={"sleep": {"duration": {"seconds": 1}}})
    array = core_workflow_pb2.Node(
        id="n3", array_node={"node": node("n9", "t"), "min_success_ratio": 0.5, "run_all_sub_nodes": True}
    )
    branch = core_workflow_pb2.Node(id="n4", branch_node={"if_else": {"case": {"then_node": gate}, "else_node": array}})
    request = registered(plan_node("n0", "p"), sub_node("n1", "wf"), gate, array, branch)
    request.spec.template.failure_node.CopyFrom(node("fn0", "t"))
    fields.refuse(request)


def test_what_sdks_write_where_nobody_chose_passes() -> None:
    one = node("n0", "t")
    one.metadata.cacheable = False
    one.metadata.interruptible = False
    one.task_node.overrides.resources.SetInParent()
    one.task_node.overrides.pod_template.SetInParent()
    fields.refuse(registered(one, sub_node("n1", "wf")))
