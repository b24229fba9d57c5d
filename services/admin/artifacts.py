"""What a node has left behind, by Flyte's short names: literals as they are, decks by a signed address."""

from __future__ import annotations

from flyteidl.core import literals_pb2

from libs.blob import BlobStore, layout
from libs.store.executions import Executions
from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.state import Data
from services.admin.data import Address, Literals, outputs_of
from services.admin.flyte_urls import FlyteUrl, Kind

MAX_LITERALS_BYTES = 16 * 1024 * 1024
"""Of an answer that has the literals in it: flytekit's client takes 20 MiB."""


class Artifacts:
    """Looks up inputs, outputs and decks of nodes and attempts."""

    def __init__(self, executions: Executions, blob: BlobStore, literals: Literals) -> None:
        self._executions = executions
        self._blob = blob
        self._literals = literals

    async def literals(self, url: FlyteUrl) -> literals_pb2.LiteralMap:
        """The inputs or outputs that `url` names. Raises `NotFound` for an unknown node or attempt."""
        return await self._literals.load(await self._data(url), MAX_LITERALS_BYTES)

    async def literal(self, url: FlyteUrl) -> literals_pb2.Literal:
        """The one literal that `url` names. Raises `NotFound` when there is none of that name."""
        found = (await self.literals(url)).literals
        if url.variable not in found:
            raise NotFound(f"flyte_url: node {url.node_id!r} has no {url.kind.name.lower()} named {url.variable!r}")
        return found[url.variable]

    async def deck(self, execution: ExecutionId, node_id: str, attempt: int | None, seconds: int) -> Address:
        """A signed address of the deck of a node, or of one of its attempts. Raises `NotFound` when there is none."""
        if attempt is None:
            uri = (await self._executions.get_node(execution, node_id)).deck_uri
        else:
            await self._executions.get_attempt(execution, node_id, attempt)
            uri = f"{layout.attempt_prefix(self._blob.root, execution, node_id, attempt)}/{layout.DECK}"
        if uri is None or await self._blob.size(uri) is None:
            raise NotFound(f"node {node_id!r} of execution {execution} has no deck")
        return self._literals.address(uri, seconds)

    async def _data(self, url: FlyteUrl) -> Data | None:
        if url.attempt is None:
            node = await self._executions.get_node(url.execution, url.node_id)
            return node.inputs if url.kind is Kind.INPUTS else node.outputs
        record = await self._executions.get_attempt(url.execution, url.node_id, url.attempt)
        return record.node.inputs if url.kind is Kind.INPUTS else outputs_of(record)
