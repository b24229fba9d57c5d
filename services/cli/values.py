"""What people type, as a literal of the type that is wanted. Pure: `UsageError` for a text that is none."""

from __future__ import annotations

from flyteidl.core import literals_pb2, types_pb2

from libs.workflow import values
from libs.workflow.errors import InvalidArgument
from services.cli.names import UsageError


def parse(text: str, wanted: types_pb2.LiteralType) -> literals_pb2.Literal:
    """The literal that `text` means for that type; a time without zone is one of this machine."""
    try:
        return values.of_text(text, wanted, zone=None)
    except InvalidArgument as error:
        raise UsageError(error.message) from None
