"""The unmodified SDK registers and finds things again; the same twice is harmless, something else is refused."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from flyteidl.admin import common_pb2, launch_plan_pb2, workflow_pb2
from flyteidl.core import identifier_pb2
from flytekit import LaunchPlan
from flytekit.core.type_engine import TypeEngine
from flytekit.exceptions.user import FlyteEntityNotExistException, FlyteInvalidInputException
from flytekit.models.project import Project
from flytekit.types.file import FlyteFile

from tests.support import flyte
from tests.support.admin import Door
from tests.support.sums import add, double, inner, register, settings, sums

pytestmark = pytest.mark.timeout(90)


def test_a_workflow_is_registered_and_fetched_with_all_that_it_refers_to(user: flyte.Client) -> None:
    remote = user.remote()
    register(remote)

    fetched = remote.fetch_workflow(name=sums.name)
    assert fetched.id.version == "v1"
    assert {node.id for node in fetched.flyte_nodes} == {"n0", "n1", "n2"}
    assert {one.name for one in fetched.flyte_tasks} == {add.name, double.name}
    plan = remote.fetch_launch_plan(name=sums.name)
    assert plan.id.version == "v1"
    assert plan.default_inputs.parameters["y"].default.scalar.primitive.integer == 3
    assert {one.id.name for one in remote.list_tasks_by_version("v1")} == {add.name, double.name}


def test_registering_again_changes_nothing_whatever_the_order_of_a_set(user: flyte.Client) -> None:
    remote = user.remote()
    register(remote)
    with user.stubs() as stubs:
        id = identifier_pb2.Identifier(
            resource_type=identifier_pb2.WORKFLOW,
            project=flyte.PROJECT,
            domain=flyte.DOMAIN,
            name="order",
            version="v1",
        )
        template = stubs.admin.GetWorkflow(
            common_pb2.ObjectGetRequest(id=_id(identifier_pb2.WORKFLOW, sums.name))
        ).closure.compiled_workflow
        request = workflow_pb2.WorkflowCreateRequest(id=id)
        request.spec.template.CopyFrom(template.primary.template)
        request.spec.template.id.CopyFrom(id)
        del request.spec.template.nodes[:2]
        request.spec.sub_workflows.extend(sub.template for sub in template.sub_workflows)
        request.spec.template.nodes[2].upstream_node_ids[:] = ["n0", "n1"]
        stubs.admin.CreateWorkflow(request)
        request.spec.template.nodes[2].upstream_node_ids[:] = ["n1", "n0"]
        with pytest.raises(grpc.RpcError) as again:
            stubs.admin.CreateWorkflow(request)
    assert again.value.code() == grpc.StatusCode.ALREADY_EXISTS
    register(remote)


def test_the_same_version_with_another_structure_is_refused_and_says_how_they_differ(user: flyte.Client) -> None:
    remote = user.remote()
    remote.register_task(double, settings(), version="v1")

    other = settings(image="localhost/others")
    with pytest.raises(FlyteInvalidInputException, match=r"different structure.*image.*localhost/others"):
        remote.register_task(double, other, version="v1")
    assert remote.fetch_task(name=double.name).container.image == "localhost/tasks:1"


def test_the_latest_version_is_the_one_that_was_registered_last(user: flyte.Client) -> None:
    remote = user.remote()
    for version in ("v2", "v1", "v3"):
        remote.register_task(double, settings(version), version=version)
    assert user.remote().fetch_task(name=double.name).id.version == "v3"


def test_what_is_not_registered_is_not_found(user: flyte.Client) -> None:
    with pytest.raises(FlyteEntityNotExistException):
        user.remote().fetch_workflow(name="nothing", version="v1")


def test_at_most_one_version_of_a_launch_plan_is_active(user: flyte.Client) -> None:
    remote = user.remote()
    register(remote, "v1")
    register(remote, "v2")
    assert remote.fetch_active_launchplan(name=sums.name) is None
    remote.activate_launchplan(remote.fetch_launch_plan(name=sums.name, version="v1").id)
    remote.activate_launchplan(remote.fetch_launch_plan(name=sums.name, version="v2").id)
    active = user.remote().fetch_active_launchplan(name=sums.name)
    assert active is not None
    assert active.id.version == "v2"
    with user.stubs() as stubs:
        request = launch_plan_pb2.ActiveLaunchPlanListRequest(project=flyte.PROJECT, domain=flyte.DOMAIN, limit=10)
        listed = stubs.admin.ListActiveLaunchPlans(request).launch_plans
        assert [plan.id.version for plan in listed] == ["v2"]
        stubs.admin.UpdateLaunchPlan(
            launch_plan_pb2.LaunchPlanUpdateRequest(id=active.id.to_flyte_idl(), state=launch_plan_pb2.INACTIVE)
        )
    assert user.remote().fetch_active_launchplan(name=sums.name) is None


def test_a_launch_plan_expects_what_it_does_not_fix(user: flyte.Client) -> None:
    remote = user.remote()
    register(remote)
    fixing = LaunchPlan.get_or_create(sums, name="sums-of-five", default_inputs={"x": 4}, fixed_inputs={"y": 5})
    remote.register_launch_plan(fixing, version="v1", project=flyte.PROJECT, domain=flyte.DOMAIN)
    with user.stubs() as stubs:
        plan = stubs.admin.GetLaunchPlan(
            common_pb2.ObjectGetRequest(id=_id(identifier_pb2.LAUNCH_PLAN, "sums-of-five"))
        )
    assert plan.closure.state == launch_plan_pb2.INACTIVE
    assert set(plan.closure.expected_outputs.variables) == {"o0"}
    expected = plan.closure.expected_inputs.parameters
    assert set(expected) == {"x"}
    assert expected["x"].default.scalar.primitive.integer == 4


def test_names_are_listed_without_versions_page_by_page(user: flyte.Client) -> None:
    remote = user.remote()
    register(remote, "v1")
    register(remote, "v2")
    client = remote.client
    first, token = client.list_task_ids_paginated(flyte.PROJECT, flyte.DOMAIN, limit=1)
    second, last = client.list_task_ids_paginated(flyte.PROJECT, flyte.DOMAIN, limit=1, token=token)
    assert [one.name for one in (*first, *second)] == sorted((add.name, double.name))
    assert token and not last
    names, _ = client.list_workflow_ids_paginated(flyte.PROJECT, flyte.DOMAIN)
    assert [one.name for one in names] == [inner.name, sums.name]


def test_projects_need_not_be_made_and_can_be(user: flyte.Client) -> None:
    remote = user.remote()
    remote.register_task(double, settings(), version="v1")
    assert "flytesnacks" in {project.id for project in remote.list_projects()}
    assert [domain.id for domain in remote.get_domains()] == ["development", "staging", "production"]
    remote.client.register_project(_project("robots"))
    assert {project.name for project in remote.list_projects()} == {"flytesnacks", "Robots"}


def test_the_version_of_the_server_is_one_that_the_sdk_understands(user: flyte.Client) -> None:
    assert user.remote().client.get_control_plane_version().startswith("v")


def test_code_is_uploaded_where_tasks_will_find_it(user: flyte.Client, admin: Door, tmp_path: Path) -> None:
    code = tmp_path / "code.tar.gz"
    code.write_bytes(b"not really a tarball")
    md5, native = user.remote().upload_file(code)
    assert Path(native).read_bytes() == b"not really a tarball"
    assert native.startswith(f"{admin.blob.root}/uploads/{flyte.PROJECT}/{flyte.DOMAIN}/")
    assert user.remote().upload_file(code) == (md5, native)


def test_literals_that_point_to_files_are_uploaded_with_them(user: flyte.Client, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("a,b\n")
    remote = user.remote()
    with remote.remote_context() as context:
        literal = TypeEngine.to_literal(context, FlyteFile(str(data)), FlyteFile, TypeEngine.to_literal_type(FlyteFile))
    assert Path(literal.scalar.blob.uri).read_text() == "a,b\n"


def _id(kind: int, name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=kind, project=flyte.PROJECT, domain=flyte.DOMAIN, name=name, version="v1"
    )


def _project(id: str) -> Project:
    return Project(id=id, name=id.title(), description="for tests")
