"""What all attempts of one executor share in the cluster: what is known of its pods, and how pods are made here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from libs.runtime.clock import Clock
from libs.workflow import errors
from services.executor import variables
from services.executor.pods import datafiles, machine, observe
from services.executor.pods.cluster import Cluster
from services.executor.pods.informer import Informer
from services.executor.pods.logs import Logs
from services.executor.pods.manifest import Shape
from services.executor.pods.reaper import Reaper
from services.executor.pods.refusals import Refused, Unreachable
from services.executor.pods.turnstile import Turnstile
from services.executor.results import Storage
from services.executor.settings import ExecutorSettings

_TEMPLATE_SECONDS: Final = 30.0
"""How long a PodTemplate that was read counts: many attempts at once need not ask for it each."""


class Fleet:
    """Belongs to one event loop."""

    def __init__(
        self,
        settings: ExecutorSettings,
        executor: str,
        platform: variables.Platform,
        cluster: Cluster,
        clock: Clock,
        storage: Storage,
    ) -> None:
        self.cluster = cluster
        self.graces = graces_of(settings)
        self.shape = shape_of(settings, executor, platform)
        self.informer = Informer(cluster, executor)
        self.reaper = Reaper(cluster, clock, settings.pod_keep_failed_seconds)
        self.turnstile = Turnstile()
        self.logs = Logs(cluster, storage, settings.log_upload_seconds)
        self._default_template = settings.pod_template
        self._clock = clock
        self._templates: dict[str, tuple[float, Mapping[str, Any]]] = {}

    async def base(self, name: str) -> Mapping[str, Any] | None:
        """The template of the PodTemplate of this name, or of the platform's own; None when there is none.

        Raises InvalidArgument when there is none of the task's name, Unavailable when the cluster does not answer.
        """
        wanted = name or self._default_template
        if not wanted:
            return None
        read_at, template = self._templates.get(wanted, (0.0, {}))
        if wanted in self._templates and self._clock.monotonic() - read_at < _TEMPLATE_SECONDS:
            return template
        try:
            found = await self.cluster.pod_template(wanted)
        except (Refused, Unreachable) as error:
            raise errors.Unavailable(f"PodTemplate {wanted} cannot be read: {error}") from error
        if found is not None:
            template = found.get("template") or {}
            self._templates[wanted] = (self._clock.monotonic(), template)
            return template
        missing = f"there is no PodTemplate {wanted!r} in namespace {self.cluster.namespace!r}"
        if name:
            raise errors.InvalidArgument(f"metadata.pod_template_name: {missing}")
        raise errors.FailedPrecondition(f"POD_TEMPLATE: {missing}")


def graces_of(settings: ExecutorSettings) -> observe.Graces:
    return observe.Graces(
        create_container_error_seconds=settings.pod_create_error_seconds,
        create_container_config_error_seconds=settings.pod_config_error_seconds,
        image_pull_seconds=settings.pod_image_pull_seconds,
        pending_seconds=settings.pod_pending_seconds,
    )


def shape_of(settings: ExecutorSettings, executor: str, platform: variables.Platform) -> Shape:
    """What the settings say of every pod; who owns them is found out at the start."""
    return Shape(
        executor=executor,
        platform=platform,
        defaults={"cpu": settings.pod_cpu, "memory": settings.pod_memory},
        gpu_resource=settings.pod_gpu_resource,
        gpu_device_label=settings.pod_gpu_device_label,
        gpu_partition_label=settings.pod_gpu_partition_label,
        node_selector=settings.pod_node_selector,
        tolerations=machine.tolerations(settings.pod_tolerations),
        interruptible_node_selector=settings.pod_interruptible_node_selector,
        interruptible_tolerations=machine.tolerations(settings.pod_interruptible_tolerations),
        service_account=settings.pod_service_account,
        image_pull_policy=settings.pod_image_pull_policy,
        image_pull_secrets=settings.pod_image_pull_secrets,
        env_from=[_source(each) for each in settings.pod_env_from],
        grace_seconds=max(1, math.ceil(settings.kill_grace_seconds)),
        pilot=datafiles.Pilot(
            image=settings.copilot_image,
            timeout_seconds=math.ceil(settings.copilot_seconds),
            cpu=settings.copilot_cpu,
            memory=settings.copilot_memory,
            env=platform.additions,
            env_from=[_source(each) for each in settings.pod_env_from],
            pull_policy=settings.pod_image_pull_policy,
        ),
    )


def _source(text: str) -> Mapping[str, Any]:
    kind, _, name = text.partition("/")
    return {{"secret": "secretRef", "configmap": "configMapRef"}[kind]: {"name": name, "optional": True}}
