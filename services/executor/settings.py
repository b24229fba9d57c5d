"""What an executor can be told by its environment (`AIRSCREW_EXECUTOR_…`, shared names `AIRSCREW_…`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from libs.workflow import errors, quantities
from libs.workflow.backend import Backend

TOLERATION: Final = r"(?P<key>[^=:]+)(?:=(?P<value>[^:]*))?(?::(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?"
"""A toleration as `kubectl taint` writes taints."""


@dataclass(frozen=True)
class ExecutorSettings:
    """Settings of one executor process."""

    propellers: tuple[str, ...]
    """Addresses (`host:port`) of the propeller's replicas; any of them tells who leads."""

    session_token: str = field(repr=False)
    """Proves to the propeller that this is an executor. Best given as a file; task processes never see it."""

    blob: str
    """The blob store: an absolute directory, or `s3://bucket/prefix` and its like."""

    data_dir: Path
    """A directory of this executor alone: journal, spooled reports, scratch. Kept over restarts, not shared."""

    listen: str = "127.0.0.1:0"
    """Where gRPC health and reflection are served; port 0 takes any free one."""

    id: str = ""
    """Stable name of this executor. Default: the host's name and a number that is kept in `data_dir`."""

    task_backend: Backend = Backend.PROCESS
    """How tasks run: each is a `process` of this machine, or a `pod` of the cluster. For all services alike."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Told to the propeller, for people."""

    interruptible: bool = False
    """Whether this executor's machine may be taken away at any moment (preemptible, spot)."""

    cpu_millis: int | None = None
    """Thousandths of a core to offer. Default: what the machine and the cgroup give."""

    memory_bytes: int | None = None
    """Memory to offer. Default: what the machine and the cgroup give."""

    gpus: tuple[str, ...] | None = None
    """Device numbers or UUIDs to offer. Default: `CUDA_VISIBLE_DEVICES` if set, else what `nvidia-smi` lists."""

    task_environments: Mapping[str, str] = field(default_factory=dict)
    """Container image → prefix of a Python environment (the directory above its `bin`); `*` is any other image."""

    task_python: Path | None = None
    """The interpreter whose environment `*` is, if not set above. Default: that of `pyflyte-execute` on PATH."""

    task_envs: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for every task; those of the task and of the execution win over them."""

    task_pass_envs: tuple[str, ...] = ()
    """Names of variables that tasks get as the executor has them, for example `FLYTE_AWS_ENDPOINT`."""

    secrets_dir: Path | None = None
    """Where the secrets that tasks may ask for lie, as `<group>/<key>` or `<group>/<version>/<key>`; one may also be a
    variable `AIRSCREW_EXECUTOR_SECRET_<GROUP>_<KEY>`. Without `task_uid`, tasks can read all of the directory."""

    task_uid: int | None = None
    """User that task processes run as; needs root. Without it they run as the executor's user, and as root they
    could read everything the executor can, its token included."""

    task_gid: int | None = None
    """Group that task processes run as; needs root."""

    admin_address: str = ""
    """`host:port` under which tasks reach the API (`FLYTE_PLATFORM_URL`). Empty: they are not told."""

    admin_insecure: bool = True
    """Whether tasks speak to it without TLS (`FLYTE_PLATFORM_INSECURE`)."""

    console_url: str = ""
    """Where people look at executions in a browser; tasks are told their own page there (`FLYTE_EXECUTION_URL`)."""

    offload_from_mb: int = 1
    """An output of a task that is at least this large goes to a file of its own, and only its place and hash travel
    (`_F_L_MIN_SIZE_MB`). 0: never."""

    offload_limit_mb: int = 1000
    """Largest output that a task may have in such a file (`_F_L_MAX_SIZE_MB`)."""

    warm: bool = True
    """Whether flytekit tasks are forked from warm processes. False: each starts an interpreter of its own."""

    zygotes: int = 4
    """How many warm processes there may be: one for each task environment and version of code. Each takes what an
    interpreter takes that has imported flytekit (90 MB) and the version's own modules."""

    zygote_idle_seconds: float = 300.0
    """After so long without a task a warm process ends, and so does one that is kept for a task's re-use."""

    zygote_start_seconds: float = 60.0
    """How long it may take to fetch and import a version's code. One that takes longer has its tasks started cold."""

    reuse_tasks: int = 10_000
    """How many tasks a process runs at most, where tasks ask to share one (`airscrew/reuse`)."""

    reuse_memory_bytes: int = 256 << 20
    """By how much such a process may grow before it ends."""

    echo_seconds: float = 0.0
    """How long an echo task takes: Flyte's `sleep-duration` of its echo plugin, for trying things out under load."""

    kill_grace_seconds: float = 5.0
    """Between SIGTERM and SIGKILL when an attempt is stopped."""

    shutdown_grace_seconds: float = 20.0
    """How long running attempts may go on after SIGTERM to the executor. Kubernetes gives 30 s in all by default."""

    flush_seconds: float = 5.0
    """How long a stopping executor waits for its last reports to be acknowledged. They stay spooled in any case."""

    storage_patience_seconds: float = 60.0
    """How long a blob store that is away is tried again before the attempt fails as SYSTEM."""

    output_limit_bytes: int = 64 << 20
    """Largest outputs.pb or error.pb that is taken: what one gRPC message can carry."""

    log_limit_bytes: int = 64 << 20
    """What is kept of an attempt's log, plus its last lines."""

    log_upload_seconds: float = 5.0
    """How often a growing log is uploaded, where the blob store is not a directory."""

    disk_floor_bytes: int = 256 << 20
    """With less than this free in `data_dir`, nothing new is taken and the propeller is told why."""

    spool_limit_bytes: int = 16 << 20
    """With more unacknowledged reports than this, nothing new is taken; none is ever dropped. All of them, and those of
    what still runs, must fit into the first message of a session (64 MiB)."""

    resend_seconds: float = 5.0
    """After this long without acknowledgement a final report is sent again."""

    dial_seconds: float = 5.0
    """How long one propeller may take to answer the first message."""

    # The rest is about tasks that are pods (`task_backend`).

    slots: int = 500
    """How many pods this executor has at once. What they need the cluster has or has not: cores, memory and gpus are
    not this machine's."""

    pod_namespace: str = ""
    """Where pods are made. Default: the namespace of the executor's credentials, which is its own."""

    pod_kubeconfig: Path | None = None
    """Where the cluster is and with which credentials it is spoken to. Default: the service account of the executor's
    own pod, else what `kubectl` takes."""

    own_pod: str = ""
    """The name of the pod that the executor itself is: its StatefulSet owns the pods of tasks. Empty: nobody does."""

    pod_template: str = ""
    """Name of a PodTemplate of that namespace that is below every pod, or instead of it the one that a task names
    (`pod_template_name`)."""

    pod_cpu: str = "1"
    """Cores of a task that does not ask for any; Flyte's default."""

    pod_memory: str = "1Gi"
    """Memory of a task that does not ask for any; Flyte's default."""

    pod_gpu_resource: str = "nvidia.com/gpu"
    """What Kubernetes calls a GPU."""

    pod_gpu_device_label: str = "k8s.amazonaws.com/accelerator"
    """Label, and key of the taint, of nodes by the kind of their GPUs; Flyte's default."""

    pod_gpu_partition_label: str = "k8s.amazonaws.com/gpu-partition-size"
    """The same by the size of the parts that their GPUs are divided into; Flyte's default."""

    pod_node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the nodes that pods may go to."""

    pod_tolerations: tuple[str, ...] = ()
    """Taints that pods tolerate, as `kubectl taint` writes them: `key=value:NoSchedule`."""

    pod_interruptible_node_selector: Mapping[str, str] = field(default_factory=dict)
    """Beside those, for tasks that may be interrupted."""

    pod_interruptible_tolerations: tuple[str, ...] = ()
    """Beside those, for tasks that may be interrupted."""

    pod_service_account: str = ""
    """Of a task that names none. Empty: the namespace's default, whose token it does not get."""

    pod_image_pull_policy: str = ""
    """`Always`, `IfNotPresent` or `Never`; empty leaves it to Kubernetes."""

    pod_image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets for registries."""

    pod_env_from: tuple[str, ...] = ()
    """`secret/NAME` and `configmap/NAME`, where they exist, whose keys all tasks have as variables: where the blob
    store is, for example. What they hold is not written into pods, unlike `task_envs` and `task_pass_envs`."""

    pod_create_error_seconds: float = 180.0
    """How long a pod may stay in CreateContainerError; Flyte's default, like the next three."""

    pod_config_error_seconds: float = 0.0
    """How long in CreateContainerConfigError: a Secret or ConfigMap that it wants does not exist."""

    pod_image_pull_seconds: float = 180.0
    """How long in ImagePullBackOff."""

    pod_pending_seconds: float = 0.0
    """How long without a node. 0: for ever."""

    pod_delete_seconds: float = 60.0
    """How long beyond its grace a pod may take to go that is deleted; then it is deleted without its node's word."""

    pod_keep_failed_seconds: float = 600.0
    """How long the pod of a failed attempt stays, to be looked at. Others go when their end has been reported."""

    copilot_image: str = ""
    """Image of the containers that bring files to a task with `data_config` and collect its outputs: an executor's.
    Default: that of the executor's own pod."""

    copilot_seconds: float = 3600.0
    """How long they may take for all inputs, and for all outputs; Flyte's default."""

    copilot_cpu: str = "500m"
    """Cores of each of them; Flyte's default."""

    copilot_memory: str = "256Mi"
    """Memory of each of them; however large the files are."""

    def __post_init__(self) -> None:
        if not self.propellers:
            raise ValueError("PROPELLERS: at least one address is needed")
        if not self.data_dir.is_absolute():
            raise ValueError(f"DATA_DIR: {str(self.data_dir)!r} is not an absolute path")
        if self.secrets_dir is not None and not self.secrets_dir.is_absolute():
            raise ValueError(f"SECRETS_DIR: {str(self.secrets_dir)!r} is not an absolute path")
        if not 0 <= self.offload_from_mb <= self.offload_limit_mb:
            raise ValueError("OFFLOAD_FROM_MB: must not be more than OFFLOAD_LIMIT_MB, nor less than 0")
        positive = ("storage_patience_seconds", "resend_seconds", "dial_seconds", "log_upload_seconds")
        for name in (
            *positive,
            "copilot_seconds",
            "zygotes",
            "zygote_idle_seconds",
            "zygote_start_seconds",
            "reuse_tasks",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name.upper()}: must be more than 0")
        if (self.task_uid is None) != (self.task_gid is None):
            raise ValueError("TASK_UID and TASK_GID must be set together")
        self._check_pods()

    def _check_pods(self) -> None:
        if self.slots < 1:
            raise ValueError("SLOTS: must be at least 1")
        if self.pod_image_pull_policy not in ("", "Always", "IfNotPresent", "Never"):
            raise ValueError(f"POD_IMAGE_PULL_POLICY: {self.pod_image_pull_policy!r} is none of Kubernetes'")
        for source in self.pod_env_from:
            if not re.fullmatch(r"(secret|configmap)/[a-z0-9.-]+", source):
                raise ValueError(f"POD_ENV_FROM: {source!r} is neither secret/NAME nor configmap/NAME")
        for name in ("pod_tolerations", "pod_interruptible_tolerations"):
            for word in getattr(self, name):
                if not re.fullmatch(TOLERATION, word):
                    raise ValueError(f"{name.upper()}: {word!r} is no toleration such as key=value:NoSchedule")
        for name in ("pod_cpu", "pod_memory", "copilot_cpu", "copilot_memory"):
            try:
                quantities.parse_quantity(getattr(self, name), name.upper())
            except errors.InvalidArgument as error:
                raise ValueError(error.message) from None
