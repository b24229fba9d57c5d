"""What is deployed: safe, and agreeing with the code about every name."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import promql_parser
import pytest

from libs import settings
from libs.rpc import metered, server
from libs.rpc.security import RpcSettings
from libs.runtime.process import LogSettings, MetricsSettings
from libs.telemetry import queues
from services.admin import meters as admin
from services.executor import meters as executor
from services.propeller import levels
from services.propeller import meters as propeller
from services.queue import meters as queue
from tests.support import tiltfile
from tests.support.manifests import OVERLAYS, ROOT, SERVICES, Object, Rendered, rendered

METRICS = {
    metric.prometheus: {attribute.replace(".", "_") for attribute in metric.attributes}
    for metric in (
        *admin.METRICS,
        *executor.METRICS,
        *levels.METRICS,
        *propeller.METRICS,
        *queue.METRICS,
        *queues.METRICS,
        *metered.METRICS,
    )
}
FROM_PROMETHEUS = {"pod", "component", "le", "quantile", "project", "domain"}
"""Labels that Prometheus or a rule adds."""

of_each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def container_of(workload: Object) -> Object:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def name_of(thing: Object) -> str:
    return f"{thing['kind']} {thing['metadata']['name']}"


# -------------------------------------------------------------------------------------------------------- manifests


@of_each_overlay
def test_what_runs_has_no_rights_that_it_does_not_need(overlay: str) -> None:
    for workload in rendered(overlay).ours():
        pod, container = workload["spec"]["template"]["spec"], container_of(workload)
        about = name_of(workload)
        # The executor speaks to the cluster where tasks are pods, and nobody else ever does.
        speaks = overlay == "dev-pods" and about == "StatefulSet airscrew-executor"
        assert pod["automountServiceAccountToken"] is speaks, about
        assert pod["securityContext"]["runAsNonRoot"] is True, about
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, about
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, about
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, about
        # Tilt copies code into running containers.
        writable = overlay.startswith("dev") and workload["kind"] != "Job"
        assert container["securityContext"]["readOnlyRootFilesystem"] is not writable, about
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], about
        assert "requests" in container["resources"], about


@of_each_overlay
def test_only_the_propeller_is_told_etcd_and_users_code_is_not_told_the_database(overlay: str) -> None:
    told = {
        service: dict(rendered(overlay).environment(container_of(rendered(overlay).service(service))))
        for service in SERVICES
    }
    assert {service for service in SERVICES if "AIRSCREW_ETCD" in told[service]} == {"propeller"}
    assert {service for service in SERVICES if "AIRSCREW_DATABASE" in told[service]} == {"admin", "propeller"}
    assert {service for service in SERVICES if "AIRSCREW_SIGNING_KEY" in told[service]} == {"admin"}


@of_each_overlay
@pytest.mark.parametrize("service", SERVICES)
def test_the_settings_of_a_service_are_settings_that_it_has_and_enough_to_start(overlay: str, service: str) -> None:
    them = rendered(overlay)
    told = {
        name: "s" * 32 if value is None else value
        for name, value in them.environment(container_of(them.service(service)))
    }
    told = {name: value.replace("$(POD_IP)", "10.0.0.1") for name, value in told.items()}
    module = importlib.import_module(f"services.{service}.settings")
    own: Any = getattr(module, f"{service.capitalize()}Settings")
    known = {field.name for each in (own, LogSettings, MetricsSettings, RpcSettings) for field in fields(each)}
    for name in told:
        if name.startswith("AIRSCREW_"):
            field = name.removeprefix("AIRSCREW_").removeprefix(f"{service.upper()}_").lower()
            assert field in known, f"{service} has no setting for {name}"
    told["AIRSCREW_DATABASE"] = "postgresql://a@b:5432/c"
    loaded = settings.load(own, service, told)
    for name, hint in get_type_hints(own).items():
        if hint is str and name == "listen":
            assert getattr(loaded, name) == "0.0.0.0:9090"


@of_each_overlay
def test_there_is_time_to_stop_in_order(overlay: str) -> None:
    after = {"admin": 2.0, "queue": 1.0, "propeller": 2.0 + 3.0, "executor": 1.0}
    """What the services take beyond what is set: the ends of streams, servers and leases."""
    for service in SERVICES:
        workload = rendered(overlay).service(service)
        told = dict(rendered(overlay).environment(container_of(workload)))
        told.pop("AIRSCREW_PROPELLER_EXECUTOR_GRACE_SECONDS", None)  # that of others
        graces = [
            float(value or 0) for name, value in told.items() if name.endswith(("_GRACE_SECONDS", "FLUSH_SECONDS"))
        ]
        sleep = container_of(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = sleep + sum(graces) + after[service]
        assert graces
        assert workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needed, service


@of_each_overlay
def test_probes_ask_whether_a_process_is_alive_and_whether_it_may_be_sent_work_and_nothing_else(overlay: str) -> None:
    port = 9091 if overlay == "prod-tls" else 9090
    for service in SERVICES:
        container = container_of(rendered(overlay).service(service))
        assert container["livenessProbe"]["grpc"] == {"port": port, "service": server.LIVE}
        assert container["startupProbe"]["grpc"] == {"port": port, "service": server.LIVE}
        assert container["readinessProbe"]["grpc"] == {"port": port}
        assert port in {each["containerPort"] for each in container["ports"]}


@of_each_overlay
def test_what_selects_finds_and_what_is_referred_to_exists(overlay: str) -> None:
    them = rendered(overlay)
    for each in them.of("Service"):
        (workload, *_) = them.pods(each["spec"]["selector"]) or (None,)
        assert workload is not None, f"{name_of(each)} selects nothing"
        ports = container_of(workload)["ports"]
        known = {port.get("name") for port in ports} | {port["containerPort"] for port in ports}
        assert {port.get("targetPort", port["port"]) for port in each["spec"]["ports"]} <= known, name_of(each)
    for each in them.of("PodDisruptionBudget"):
        assert them.pods(each["spec"]["selector"]["matchLabels"]), f"{name_of(each)} protects nothing"
    for each in them.of("HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        assert them.named(target["kind"], target["name"]), name_of(each)
    for each in them.of("NetworkPolicy"):
        for selector in _selectors(each["spec"]):
            assert not selector or them.pods(selector), f"{name_of(each)} names {selector}"
    for each in them.workloads():
        spec = each["spec"]["template"]["spec"]
        if "serviceAccountName" in spec:
            assert them.named("ServiceAccount", spec["serviceAccountName"]), name_of(each)
        for volume in spec.get("volumes", ()):
            if "configMap" in volume:
                assert them.named("ConfigMap", volume["configMap"]["name"]), f"{name_of(each)}: {volume}"


@of_each_overlay
def test_every_address_inside_is_the_name_and_the_port_of_a_service(overlay: str) -> None:
    them = rendered(overlay)
    services = {
        each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]} for each in them.of("Service")
    }
    for workload in them.ours():
        for name, value in them.environment(container_of(workload)):
            for host, port in re.findall(r"(?:^|[/,@])([a-z][a-z0-9.-]*):(\d+)", value or ""):
                if host.endswith(("example.com", ".observability")) or host == "localhost":
                    continue
                assert int(port) in services.get(host.rpartition(".")[2] or host, ()), f"{name}={value}"


def _selectors(policy: Object) -> Iterator[dict[str, str]]:
    yield policy["podSelector"].get("matchLabels", {})
    for rule in (*policy.get("ingress", ()), *policy.get("egress", ())):
        for peer in (*(rule or {}).get("from", ()), *(rule or {}).get("to", ())):
            yield peer["podSelector"]["matchLabels"]


# ------------------------------------------------------------------------------------------------------------ names


def test_services_images_and_manifests_have_the_same_names() -> None:
    deployed = {path.parent.name for path in ROOT.glob("services/*/app.py")} - {"cli", "standalone"}
    assert deployed == set(SERVICES)
    for overlay in OVERLAYS:
        images = {container_of(each)["image"].rpartition("/")[2].partition(":")[0] for each in rendered(overlay).ours()}
        assert images == {f"airscrew-{service}" for service in (*SERVICES, "cli")}
    built = re.search(r"IMAGES:-([a-z ]+)", (ROOT / "deploy/docker/build.sh").read_text())
    assert built is not None
    assert set(built[1].split()) == {*SERVICES, "cli", "task"}


@pytest.fixture(scope="module")
def tilt() -> tiltfile.Tiltfile:
    return tiltfile.evaluate(ROOT / "Tiltfile")


def test_the_tiltfile_builds_what_the_manifests_run_from_files_that_exist(tilt: tiltfile.Tiltfile) -> None:
    builds = {call.args[0]: call.kwargs for call in tilt.of("docker_build", "docker_build_with_restart")}
    assert set(builds) == {container_of(each)["image"] for each in rendered("dev").ours()}
    stages = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE))
    for image, build in builds.items():
        service = build["build_args"]["SERVICE"]
        assert image == f"airscrew-{service}"
        assert build["target"] in stages
        assert [path for path in (build["dockerfile"], *build["only"]) if not (ROOT / path).exists()] == []
        folders = {path for path in build["only"] if path.startswith("services/")}
        assert folders == {"services/__init__.py", f"services/{service}"}, "an image has its own service only"
    for call in tilt.of("sync"):
        source, target = call.args
        assert target == f"/app/{source}"


def test_the_tiltfile_names_resources_ports_and_commands_that_exist(tilt: tiltfile.Tiltfile) -> None:
    them, known = rendered("dev"), set[str]()
    for call in tilt.of("k8s_resource"):
        (found,) = [each for each in them.workloads() if each["metadata"]["name"] == call.args[0]]
        known.add(call.kwargs.get("new_name", call.args[0]))
        assert call.kwargs["labels"]
        for forward in call.kwargs.get("port_forwards", ()):
            assert int(forward.partition(":")[2]) in {port["containerPort"] for port in container_of(found)["ports"]}
    assert len(known) == len(them.workloads()), "every workload is a resource with a label"
    known |= {call.args[0] for call in tilt.of("local_resource")}
    for call in tilt.of("k8s_resource", "local_resource"):
        assert set(call.kwargs.get("resource_deps", ())) <= known
        assert [path for path in call.kwargs.get("deps", ()) if not (ROOT / path).exists()] == []
    assert {call.kwargs["resource"] for call in tilt.of("cmd_button")} <= known
    (contexts,) = tilt.of("allow_k8s_contexts")
    assert "minikube" in contexts.args[0]
    forwarded = {
        forward.partition(":")[0]
        for call in tilt.of("k8s_resource")
        for forward in call.kwargs.get("port_forwards", ())
    }
    for call in tilt.of("link"):
        assert re.fullmatch(r"http://localhost:(\d+)(/.*)?", call.args[0])
        assert call.args[0].split(":")[2].partition("/")[0] in forwarded
    (overlay,) = tilt.of("kustomize")
    assert (ROOT / overlay.args[0] / "kustomization.yaml").exists()


@pytest.mark.parametrize("button", ["submit-sample", "kill-leader", "drain-executor"])
def test_a_button_runs_a_command_that_there_is(tilt: tiltfile.Tiltfile, button: str) -> None:
    (call,) = [call for call in tilt.of("cmd_button") if call.args[0] == button]
    words = " ".join(call.kwargs["argv"]).replace("sh -c ", "").split()
    if words[0].endswith("airscrew"):
        command = words[1:3]
        options = [word for word in words if word.startswith("--")]
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [option for option in options if option not in done.stdout] == []
    else:
        assert (ROOT / words[3]).exists()
        assert f"def {words[4]}(" in (ROOT / words[3]).read_text()


# ---------------------------------------------------------------------------------------- dashboards, alerts and rules


def queries() -> Iterator[tuple[str, str]]:
    """All queries that are deployed, and where they stand."""
    for rule in rendered("prod").of("PrometheusRule"):
        for group in rule["spec"]["groups"]:
            for each in group["rules"]:
                yield each.get("alert") or each["record"], each["expr"]
    (board,) = [each for each in rendered("prod").of("ConfigMap") if each["metadata"]["name"] == "airscrew-dashboards"]
    for panel in json.loads(board["data"]["airscrew.json"])["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def test_every_query_asks_for_metrics_and_labels_that_there_are() -> None:
    for where, query in queries():
        promql_parser.parse(query.replace("$__rate_interval", "5m"))
        named = set(re.findall(r"\b((?:airscrew|workqueue|grpc|process)_[a-z_]+)\b(?!\s*=)", _without_labels(query)))
        assert named, query
        families = {name if name in METRICS else re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
        ours = {name for name in families if not name.startswith("process_")}
        assert ours <= METRICS.keys(), f"{where}: {ours - METRICS.keys()}"
        labels = set().union(*(METRICS[name] for name in ours)) | FROM_PROMETHEUS
        used = {name.strip() for by in re.findall(r"\bby \(([^)]*)\)", query) for name in by.split(",")}
        used |= {
            name for inside in re.findall(r"{([^}]*)}", query) for name in re.findall(r"(\w+)\s*(?:=~|!=|=)", inside)
        }
        assert used <= labels, f"{where}: {used - labels}"


def _without_labels(query: str) -> str:
    return re.sub(r"by \([^)]*\)|{[^}]*}|\"[^\"]*\"", "", query)


def test_every_alert_is_explained_under_its_name() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    alerts = {
        each["alert"]
        for rule in rendered("prod").of("PrometheusRule")
        for group in rule["spec"]["groups"]
        for each in group["rules"]
        if "alert" in each
    }
    explained = set(re.findall(r"^\| `(Airscrew\w+)` \|", page, re.MULTILINE))
    assert explained == alerts


def test_the_committed_dashboard_is_fresh(tmp_path: Path) -> None:
    fresh = tmp_path / "airscrew.json"
    subprocess.run([sys.executable, ROOT / "deploy/dev/generate_dashboards.py", fresh], check=True)
    committed = ROOT / "deploy/k8s/components/dashboards/airscrew.json"
    assert committed.read_text() == fresh.read_text(), "run `make docs`"


def test_the_certificates_have_the_name_that_is_asked_for() -> None:
    them: Rendered = rendered("prod-tls")
    asked = {
        dict(them.environment(container_of(them.service(service))))["AIRSCREW_TLS_SERVER_NAME"] for service in SERVICES
    }
    (name,) = asked
    certificates = [each for each in them.of("Certificate") if not each["spec"].get("isCA")]
    assert len(certificates) == len(SERVICES)
    assert all(name in each["spec"]["dnsNames"] for each in certificates)
    secrets = {each["spec"]["secretName"] for each in certificates}
    mounted = {
        volume["secret"]["secretName"]
        for service in SERVICES
        for volume in them.service(service)["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    assert mounted == secrets
