"""Named outputs, inputs with defaults, and launch plans that fix or preset them."""

from typing import NamedTuple

from flytekit import LaunchPlan, task, workflow


class Division(NamedTuple):
    quotient: int
    remainder: int


@task
def divide(dividend: int, divisor: int = 7) -> Division:
    return Division(dividend // divisor, dividend % divisor)


@workflow
def outputs_and_defaults(dividend: int, divisor: int = 7) -> Division:
    result = divide(dividend=dividend, divisor=divisor)
    return Division(result.quotient, result.remainder)


# Can be launched with no input at all, and with another divisor, but never with another dividend.
a_hundred = LaunchPlan.get_or_create(
    outputs_and_defaults, name="a_hundred", default_inputs={"divisor": 8}, fixed_inputs={"dividend": 100}
)
