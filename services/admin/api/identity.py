"""`flyteidl.service.AuthMetadataService` and `IdentityService`, for an installation without authentication.

flytekit asks neither while it is configured without authentication; other clients learn here that nobody is asked who
they are.
"""

from __future__ import annotations

from typing import Any

from flyteidl.service import auth_pb2_grpc, identity_pb2, identity_pb2_grpc

from libs.rpc import server


@server.unimplemented
class AuthMetadataApi(auth_pb2_grpc.AuthMetadataServiceServicer):
    """How to log in: there is nowhere to."""


@server.unimplemented
class IdentityApi(identity_pb2_grpc.IdentityServiceServicer):
    """Who the caller is: nobody in particular."""

    async def UserInfo(self, request: identity_pb2.UserInfoRequest, context: Any) -> identity_pb2.UserInfoResponse:
        return identity_pb2.UserInfoResponse()
