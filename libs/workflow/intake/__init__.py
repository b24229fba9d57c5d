"""Intakes: task lists in Redis whose items become executions of a launch plan. What is decided about them; pure.

`definition` says what an intake is and how it is checked, `items` what becomes of an item: its inputs and its name.
"""

from libs.workflow.intake.definition import (
    Codec,
    DeadItem,
    Intake,
    IntakeId,
    Kind,
    Progress,
    Source,
    tag,
)
from libs.workflow.intake.items import Decoded, decode, inputs_of_json, name_of

__all__ = [
    "Codec",
    "DeadItem",
    "Decoded",
    "Intake",
    "IntakeId",
    "Kind",
    "Progress",
    "Source",
    "decode",
    "inputs_of_json",
    "name_of",
    "tag",
]
