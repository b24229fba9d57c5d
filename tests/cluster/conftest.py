"""The system as `kubectl apply -k` deploys it, on a Kubernetes of its own, for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flytekit.remote import FlyteLaunchPlan, FlyteRemote

from deploy.dev.cluster import images
from deploy.dev.cluster.__main__ import down, running, up
from deploy.dev.cluster.layout import NODE_IP, Folders
from tests.cluster import stand_ins
from tests.cluster.kube import Kube, until
from tests.support import flyte

NAMESPACE = "airscrew"
HERE = Path(__file__).parent
WORK = HERE / "work.py"
READY_SECONDS = 180.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--as-it-is", action="store_true", help="build and deploy nothing")


@pytest.fixture(scope="session")
def folders(request: pytest.FixtureRequest) -> Iterator[Folders]:
    """A running cluster that knows all images; it goes on afterwards if it was there before."""
    folders = Folders()
    was_there = running(folders) is not None
    up(folders)
    try:
        pid = running(folders)
        assert pid is not None
        if not request.config.getoption("--as-it-is"):
            ours = images.build(folders)
            images.load(folders, pid, {**{name: name for name in ours}, **stand_ins.build(folders)})
        yield folders
    finally:
        if not was_there:
            down(folders)


@pytest.fixture(scope="session")
def kube(folders: Folders, request: pytest.FixtureRequest) -> Kube:
    """The namespace with everything of the overlay in it, ready."""
    kube = Kube(folders.kubeconfig, NAMESPACE)
    if not request.config.getoption("--as-it-is"):
        kube("delete", "namespace", NAMESPACE, "--ignore-not-found")
        kube("apply", "--kustomize", str(HERE / "overlay"))
    until(lambda: not kube.not_ready(), "every pod is ready", READY_SECONDS)
    return kube


@pytest.fixture(scope="session")
def client(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> flyte.Client:
    """A user's, outside of the cluster."""
    return flyte.Client(f"{NODE_IP}:30080", tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def remote(client: flyte.Client) -> FlyteRemote:
    return client.remote()


@pytest.fixture(scope="session")
def lanes(client: flyte.Client, remote: FlyteRemote) -> FlyteLaunchPlan:
    """The larger workflow of `work`."""
    return registered(client, remote, WORK, "lanes", "processes")


def registered(
    client: flyte.Client, remote: FlyteRemote, module: Path, name: str, version: str, *options: str
) -> FlyteLaunchPlan:
    """A workflow of a module, registered by `pyflyte` as the only one of a project."""
    shutil.copy(module, client.home)
    command = ["register", "--project", flyte.PROJECT, "--domain", flyte.DOMAIN, "--version", version, *options]
    done = client.pyflyte(*command, module.name)
    assert done.returncode == 0, done.stdout
    return remote.fetch_launch_plan(name=f"{module.stem}.{name}", version=version)
