"""Every request of Flyte's that is served is held against the table of fields, and the table has nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flyteidl.core import dynamic_job_pb2
from flyteidl.service import admin_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from libs.workflow import fields
from services.admin.api.admin import AdminApi
from services.admin.api.dataproxy import DataProxyApi
from services.admin.api.signals import SignalApi

SERVED: dict[type, ServiceDescriptor] = {
    AdminApi: admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
    DataProxyApi: dataproxy_pb2.DESCRIPTOR.services_by_name["DataProxyService"],
    SignalApi: signal_pb2.DESCRIPTOR.services_by_name["SignalService"],
}
"""Requests of `IdentityService` and `AuthMetadataService` have no fields."""


def served() -> Iterator[tuple[type, str, Descriptor]]:
    for api, service in SERVED.items():
        for method in service.methods:
            if "refuse" not in getattr(api, method.name).__qualname__:  # what is not there answers UNIMPLEMENTED
                yield api, method.name, method.input_type


@pytest.mark.parametrize(("api", "method", "request_"), list(served()), ids=lambda one: getattr(one, "name", None))
def test_a_request_that_is_served_is_checked_by_a_table_that_knows_it(
    api: type, method: str, request_: Descriptor
) -> None:
    assert hasattr(getattr(api, method), "__wrapped__"), f"{method} is not checked"
    assert request_.full_name in fields.FIELDS


def test_the_table_has_no_message_that_nobody_can_send() -> None:
    pending = [request for _, _, request in served()]
    pending += [dynamic_job_pb2.DynamicJobSpec.DESCRIPTOR, identity_pb2.UserInfoRequest.DESCRIPTOR]
    reached: dict[str, Descriptor] = {}
    while pending:
        message = pending.pop()
        if message.full_name not in reached:
            reached[message.full_name] = message
            pending.extend(field.message_type for field in message.fields if field.message_type is not None)
    assert set(fields.FIELDS) <= set(reached)
