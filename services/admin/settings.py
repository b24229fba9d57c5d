"""What `admin` can be told from outside: environment variables `AIRSCREW_ADMIN_<FIELD>`, or `AIRSCREW_<FIELD>` for what
all services share; a secret may also come from the file that `…_FILE` names."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.workflow.backend import Backend
from services.admin.identifiers import LABEL
from services.admin.signing import MIN_KEY_BYTES


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Settings of one replica."""

    database: str
    """URL of the SQL database: `sqlite:///<absolute path>` or `postgresql://<user>@<host>:<port>/<database>`."""

    blob: str
    """Blob store: an absolute directory that all services see, or `s3://…`, `gs://…`, `az://…`."""

    queue: str
    """Address of the queue service, `host:port`. While it is away nothing is refused: submissions wait for the
    sweep."""

    signing_key: str = field(repr=False)
    """Secret that signs upload and download addresses, at least 16 characters. The same for all replicas."""

    listen: str = "127.0.0.1:30080"
    """Address of the gRPC services, `host:port`. The default port is where Flyte's own sandbox listens."""

    http_listen: str = "127.0.0.1:30081"
    """Address of the HTTP side (uploads and downloads), `host:port`."""

    http_url: str | None = None
    """How clients reach the HTTP side. Default: `http://` and the address it is bound to."""

    shards: int = 1
    """How many shards the installation has: fixed for its life, and the same for `propeller`."""

    task_backend: Backend = Backend.PROCESS
    """How executors run tasks, `process` or `pod`: what only the other could run is refused. The same for all."""

    domains: tuple[str, ...] = ("development", "staging", "production")
    """Domains of every project, as a standard Flyte has them. Requests that name another are refused."""

    message_bytes: int = 64 * 1024 * 1024
    """Largest gRPC message taken. flytekit's client takes 20 MiB; compiled workflows may be larger on the way in."""

    inline_bytes: int = 16 * 1024
    """Inputs up to this size travel in rows and messages; larger ones are written to the blob store."""

    inputs_bytes: int = 20 * 1024 * 1024
    """Largest inputs of an execution. Files and data frames do not count: they travel as references."""

    shown_bytes: int = 2 * 1024 * 1024
    """Literals up to this size are part of an answer; larger ones are handed out as a signed address."""

    upload_bytes: int = 100 * 1024 * 1024
    """Largest file that an upload address takes: what Flyte's charts allow."""

    uploads: int = 8
    """How many uploads are received at a time, as each is held in memory until it is checked; others wait."""

    address_seconds: int = 3600
    """How long a signed address works, and the longest that a client may ask for."""

    stop_grace_seconds: float = 5.0
    """How long requests that are under way may take when the process is stopped."""

    def __post_init__(self) -> None:
        if len(self.signing_key.encode()) < MIN_KEY_BYTES:
            raise ValueError(f"SIGNING_KEY: needs at least {MIN_KEY_BYTES} characters")
        if not self.domains:
            raise ValueError("DOMAINS: needs at least one")
        for domain in self.domains:
            if LABEL.fullmatch(domain) is None:
                raise ValueError(f"DOMAINS: {domain!r} must consist of lower-case letters, digits and -")
        if self.inline_bytes > self.inputs_bytes:
            raise ValueError("INLINE_BYTES: is larger than INPUTS_BYTES")
