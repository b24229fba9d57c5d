"""`flyteidl.service.DataProxyService`: where to upload, and what nodes have left behind."""

from __future__ import annotations

from typing import Any

from flyteidl.service import dataproxy_pb2, dataproxy_pb2_grpc

from libs.rpc import server
from libs.workflow.errors import InvalidArgument
from services.admin import encode, flyte_urls, identifiers
from services.admin.api.checked import checked
from services.admin.artifacts import Artifacts
from services.admin.flyte_urls import FlyteUrl, Kind
from services.admin.uploads import Uploads, expiry_seconds


@server.unimplemented
@checked
class DataProxyApi(dataproxy_pb2_grpc.DataProxyServiceServicer):
    """Files in and out."""

    def __init__(self, uploads: Uploads, artifacts: Artifacts, *, address_seconds: int) -> None:
        self._uploads = uploads
        self._artifacts = artifacts
        self._address_seconds = address_seconds

    async def CreateUploadLocation(
        self, request: dataproxy_pb2.CreateUploadLocationRequest, context: Any
    ) -> dataproxy_pb2.CreateUploadLocationResponse:
        location = await self._uploads.locate(request)
        return dataproxy_pb2.CreateUploadLocationResponse(
            signed_url=location.signed_url,
            native_url=location.native_url,
            expires_at=encode.timestamp(location.expires_at_us),
        )

    async def CreateDownloadLink(
        self, request: dataproxy_pb2.CreateDownloadLinkRequest, context: Any
    ) -> dataproxy_pb2.CreateDownloadLinkResponse:
        if request.artifact_type != dataproxy_pb2.ARTIFACT_TYPE_DECK:
            raise InvalidArgument("artifact_type: only ARTIFACT_TYPE_DECK can be downloaded")
        execution, node_id = identifiers.node(request.node_execution_id, "node_execution_id")
        seconds = expiry_seconds(request.expires_in, self._address_seconds)
        url, expires_at_us = await self._artifacts.deck(execution, node_id, None, seconds)
        return dataproxy_pb2.CreateDownloadLinkResponse(
            signed_url=[url],  # the older of two fields: clients before 1.10 read this one
            expires_at=encode.timestamp(expires_at_us),
            pre_signed_urls=_presigned(url, expires_at_us),
        )

    async def GetData(self, request: dataproxy_pb2.GetDataRequest, context: Any) -> dataproxy_pb2.GetDataResponse:
        url = flyte_urls.parse(request.flyte_url)
        if url.kind is Kind.DECK:
            return await self._deck(url)
        if url.variable:
            return dataproxy_pb2.GetDataResponse(literal=await self._artifacts.literal(url))
        return dataproxy_pb2.GetDataResponse(literal_map=await self._artifacts.literals(url))

    async def _deck(self, url: FlyteUrl) -> dataproxy_pb2.GetDataResponse:
        address, expires_at_us = await self._artifacts.deck(
            url.execution, url.node_id, url.attempt, self._address_seconds
        )
        return dataproxy_pb2.GetDataResponse(pre_signed_urls=_presigned(address, expires_at_us))


def _presigned(url: str, expires_at_us: int) -> dataproxy_pb2.PreSignedURLs:
    return dataproxy_pb2.PreSignedURLs(signed_url=[url], expires_at=encode.timestamp(expires_at_us))
