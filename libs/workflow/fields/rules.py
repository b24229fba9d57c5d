"""The words of the tables: what may become of a field."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from libs.workflow.backend import NEEDS_PODS, Backend
from libs.workflow.errors import AirscrewError, InvalidArgument, Unimplemented


class Fate(StrEnum):
    """What becomes of a field that is set."""

    ENFORCED = "enforced"
    RECORDED = "recorded only"
    REFUSED = "refused"


class Rule(NamedTuple):
    """The fate of one field, and why: for a refusal the text that the user reads after the field's path."""

    fate: Fate
    reason: str = ""
    error: type[AirscrewError] | None = None
    as_pod: Rule | None = None
    """What holds instead where tasks are pods; None: the same."""

    def under(self, backend: Backend) -> Rule:
        """What holds in an installation with this backend."""
        return self.as_pod if backend is Backend.POD and self.as_pod is not None else self


Table = Mapping[str, Mapping[str, Rule]]
"""Full name of a message to its fields to their rules."""

ENFORCED: Final = Rule(Fate.ENFORCED)


def enforced(reason: str) -> Rule:
    """Has the effect that Flyte's documentation gives it, as far as the reason says."""
    return Rule(Fate.ENFORCED, reason)


def recorded(reason: str) -> Rule:
    """Stored and echoed, without effect."""
    return Rule(Fate.RECORDED, reason)


def wrong(reason: str) -> Rule:
    """Refused, because no installation of ours will ever take it."""
    return Rule(Fate.REFUSED, reason, InvalidArgument)


def unbuilt(reason: str) -> Rule:
    """Refused, because we have not got that far."""
    return Rule(Fate.REFUSED, reason, Unimplemented)


def with_pods(meaning: str = "", otherwise: Rule | None = None) -> Rule:
    """Enforced where tasks are pods, as far as `meaning` says; where they are processes refused, or as said."""
    rule = otherwise or Rule(Fate.REFUSED, NEEDS_PODS, Unimplemented)
    return rule._replace(as_pod=enforced(meaning))


def all_enforced(*fields: str) -> Mapping[str, Rule]:
    return dict.fromkeys(fields, ENFORCED)


IDENTITY: Final = recorded(
    "the identity of pods is that of `security_context`; task processes run as the executor's user"
)
ONE_CLUSTER: Final = recorded("there is one cluster")
NOBODY_NOTIFIED: Final = recorded("no notifications are sent")
NO_ENVIRONMENTS: Final = unbuilt("execution environments that outlive a task are not built yet")
NO_ARTIFACTS: Final = recorded("there is no artifact service")
NO_PLUGINS: Final = recorded("for plugins, of which there are none")
FOR_PEOPLE: Final = recorded("for people")
NO_ORG: Final = wrong("this installation has no organisations, leave it empty")
