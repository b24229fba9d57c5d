"""A small workflow in plain flytekit, to be registered by tests that never run it."""

from __future__ import annotations

from flytekit import task, workflow
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.remote import FlyteRemote

from tests.support import flyte

IMAGE = "localhost/tasks"


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(x: int, y: int) -> int:
    return x + y


@workflow
def inner(x: int) -> int:
    return double(x=x)


@workflow
def sums(x: int, y: int = 3) -> int:
    """`n0` runs `inner`, `n1` doubles, `n2` adds."""
    return add(x=inner(x=x), y=double(x=y))


def settings(version: str = "v1", image: str = IMAGE) -> SerializationSettings:
    """How the SDK is told where tasks run, without an image builder or a registry."""
    images = ImageConfig(default_image=Image(name="default", fqn=image, tag="1"))
    return SerializationSettings(
        image_config=images, project=flyte.PROJECT, domain=flyte.DOMAIN, version=version, python_interpreter="python"
    )


def register(remote: FlyteRemote, version: str = "v1") -> None:
    """`sums` with all that it refers to, and its launch plan."""
    remote.register_workflow(sums, settings(version), version=version)
