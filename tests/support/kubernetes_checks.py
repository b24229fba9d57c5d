"""What the make-believe Kubernetes takes for an object: the essentials of metadata and of a pod's specification."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from libs.workflow.errors import InvalidArgument
from libs.workflow.quantities import parse_quantity

Object = dict[str, Any]

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?")
_KEY: Final = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Kind:
    """A kind of object."""

    name: str
    plural: str
    api: str = "v1"
    namespaced: bool = True


class Refused(Exception):
    """The server says no, as a `Status` object."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
            **({"details": details} if details else {}),
        }


def number(amount: str | float) -> Decimal:
    return parse_quantity(str(amount), "quantity")


def check(kind: Kind, thing: Object) -> None:
    """Raises Refused with all that is wrong."""
    problems = [*_metadata_problems(thing["metadata"])]
    if kind.name == "Pod":
        problems += _pod_problems(thing.get("spec") or {})
    if problems:
        name = thing["metadata"].get("name", "")
        causes = [{"reason": reason, "message": text, "field": field} for field, reason, text in problems]
        said = [f"{field}: {text}" for field, _, text in problems]
        text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
        message = f"{kind.name} {quoted(name)} is invalid: {text}"
        raise Refused(422, "Invalid", message, name=name, kind=kind.name, causes=causes)


def _metadata_problems(meta: Object) -> Iterator[tuple[str, str, str]]:
    name = meta.get("name") or ""
    if not name:
        yield "metadata.name", "FieldValueRequired", "Required value: name or generateName is required"
    elif len(name) > 253 or not _NAME.fullmatch(name):
        yield (
            "metadata.name",
            "FieldValueInvalid",
            f"Invalid value: {quoted(name)}: a lowercase RFC 1123 subdomain must …",
        )
    for key, value in (meta.get("labels") or {}).items():
        if not _KEY.fullmatch(key):
            yield "metadata.labels", "FieldValueInvalid", f"Invalid value: {quoted(key)}: name part must consist of …"
        if not _VALUE.fullmatch(value):
            text = f"Invalid value: {quoted(value)}: a valid label must be an empty string or consist of …"
            yield "metadata.labels", "FieldValueInvalid", text


def _pod_problems(spec: Object) -> Iterator[tuple[str, str, str]]:
    if not spec.get("containers"):
        yield "spec.containers", "FieldValueRequired", "Required value"
    volumes = {each.get("name") for each in spec.get("volumes") or ()}
    seen: set[str] = set()
    for part in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(part) or ()):
            place, name = f"spec.{part}[{index}]", container.get("name") or ""
            if not name:
                yield f"{place}.name", "FieldValueRequired", "Required value"
            elif not _LABEL.fullmatch(name):
                text = f"Invalid value: {quoted(name)}: a lowercase RFC 1123 label must consist of …"
                yield f"{place}.name", "FieldValueInvalid", text
            elif name in seen:
                yield f"{place}.name", "FieldValueDuplicate", f"Duplicate value: {quoted(name)}"
            seen.add(name)
            if not container.get("image"):
                yield f"{place}.image", "FieldValueRequired", "Required value"
            for number, mount in enumerate(container.get("volumeMounts") or ()):
                if mount.get("name") not in volumes:
                    text = f"Not found: {quoted(mount.get('name', ''))}"
                    yield f"{place}.volumeMounts[{number}].name", "FieldValueNotFound", text
            yield from _resource_problems(f"{place}.resources", container.get("resources") or {})
    policy = spec.get("restartPolicy", "Always")
    if policy not in ("Always", "OnFailure", "Never"):
        text = f'Unsupported value: {quoted(policy)}: supported values: "Always", "OnFailure", "Never"'
        yield "spec.restartPolicy", "FieldValueNotSupported", text


def _resource_problems(place: str, resources: Object) -> Iterator[tuple[str, str, str]]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, amount in {**limits, **requests}.items():
        try:
            number(amount)
        except InvalidArgument:
            text = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            raise Refused(400, "BadRequest", f'Pod in version "v1" cannot be handled as a Pod: {text}') from None
        if name in limits and name in requests and number(requests[name]) > number(limits[name]):
            said = f"must be less than or equal to {name} limit of {limits[name]}"
            yield f"{place}.requests", "FieldValueInvalid", f"Invalid value: {quoted(requests[name])}: {said}"


_MUTABLE: Final = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")


def check_unchanged(kind: Kind, before: Object, after: Object) -> None:
    """Of a pod's specification, hardly anything may change."""
    if kind.name != "Pod":
        return

    def fixed(spec: Object) -> Object:
        spec = {key: value for key, value in copy.deepcopy(spec).items() if key not in _MUTABLE}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            container.pop("image", None)
        return spec

    if fixed(before["spec"]) != fixed(after["spec"]):
        name, text = before["metadata"]["name"], "Forbidden: pod updates may not change fields other than …"
        causes = [{"reason": "FieldValueForbidden", "message": text, "field": "spec"}]
        message = f"Pod {quoted(name)} is invalid: spec: {text}"
        raise Refused(422, "Invalid", message, name=name, kind="Pod", causes=causes)


def quoted(text: str) -> str:
    return f'"{text}"'
