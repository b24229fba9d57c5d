"""How the executors of an installation run tasks: the word that every service which decides about tasks is told.

`AIRSCREW_TASK_BACKEND` is one setting for the whole installation: `admin` takes the tasks that this backend can run,
the propeller does the same for tasks that come up at run time, and executors run them so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Backend(StrEnum):
    """What a task becomes."""

    PROCESS = "process"
    """A process of the executor's machine; images are names of Python environments."""
    POD = "pod"
    """A pod of a Kubernetes cluster, in the image and with whatever else the task asks for."""


SETTING: Final = "AIRSCREW_TASK_BACKEND"
"""What messages call it."""

NEEDS_PODS: Final = f"needs pods, and tasks are processes here: this is not {SETTING}={Backend.POD}"
"""The second half of a refusal that would not come where tasks are pods."""
