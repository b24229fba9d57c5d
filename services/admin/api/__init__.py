"""What arrives over gRPC: one module per service; each method decodes, calls a noun, encodes. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping

from flyteidl.service import admin_pb2_grpc, auth_pb2_grpc, dataproxy_pb2_grpc, identity_pb2_grpc, signal_pb2_grpc

from libs.rpc.server import Registrar
from protos import airscrew_pb2_grpc
from services.admin.api.admin import AdminApi
from services.admin.api.airscrew import AirscrewApi
from services.admin.api.dataproxy import DataProxyApi
from services.admin.api.identity import AuthMetadataApi, IdentityApi
from services.admin.api.signals import SignalApi

__all__ = ["AdminApi", "AirscrewApi", "DataProxyApi", "SignalApi", "registrars"]


def registrars(
    admin: AdminApi, data: DataProxyApi, signals: SignalApi, airscrew: AirscrewApi
) -> Mapping[str, Registrar]:
    """All services of the front door, by full name, with what adds each to a server."""
    return {
        "flyteidl.service.AdminService": lambda to: admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, to),
        "flyteidl.service.DataProxyService": lambda to: dataproxy_pb2_grpc.add_DataProxyServiceServicer_to_server(
            data, to
        ),
        "flyteidl.service.SignalService": lambda to: signal_pb2_grpc.add_SignalServiceServicer_to_server(signals, to),
        "flyteidl.service.AuthMetadataService": lambda to: auth_pb2_grpc.add_AuthMetadataServiceServicer_to_server(
            AuthMetadataApi(), to
        ),
        "flyteidl.service.IdentityService": lambda to: identity_pb2_grpc.add_IdentityServiceServicer_to_server(
            IdentityApi(), to
        ),
        "airscrew.v1.Airscrew": lambda to: airscrew_pb2_grpc.add_AirscrewServicer_to_server(airscrew, to),
    }
