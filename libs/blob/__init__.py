"""Blobs: closures, inputs, outputs, decks, logs, uploads. One interface over a directory, S3, GCS and Azure.

Belongs here: the interface, its two implementations, and the layout of paths (`layout`). Does not belong here: what is
in the blobs, who may read them, and the signing of addresses.
"""

from __future__ import annotations

from libs.blob.directory import DirectoryStore
from libs.blob.store import BlobStore, Usage
from libs.workflow.errors import InvalidArgument

__all__ = ["BlobStore", "Usage", "open"]


def open(url: str) -> BlobStore:
    """The store at an absolute directory, or at `s3://bucket/prefix`, `gs://…` or `az://…`.

    Credentials and endpoints of clouds come from their usual variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
    Raises InvalidArgument for any other address; nothing is contacted yet.
    """
    if url.startswith("/"):
        return DirectoryStore(url)
    if url.startswith(("s3://", "gs://", "az://")):
        # Here, because the clouds are an extra that a system on one machine can do without.
        from libs.blob.cloud import CloudStore

        return CloudStore(url)
    raise InvalidArgument(f"blob: {url!r} is neither an absolute directory nor s3://…, gs://… or az://…")
