"""A task that is launched on its own: `pyflyte run … primes`, no workflow around it."""

from flytekit import task


@task
def primes(below: int = 30) -> list[int]:
    return [number for number in range(2, below) if all(number % factor for factor in range(2, number))]
