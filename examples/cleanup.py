"""A failure node: what runs when a workflow has failed. It learns what failed; the workflow stays failed."""

from flytekit import task, workflow
from flytekit.types.error.error import FlyteError


@task
def rent(server: str) -> str:
    return f"{server} is rented"


@task
def use(server: str, rented: str) -> str:
    if server == "lemon":
        raise ValueError(f"{server} does not start")
    return f"{server} was used"


@task
def give_back(server: str, err: FlyteError | None = None) -> None:
    print(f"giving back {server}: {err.message if err else 'it was not needed'}")


@workflow(on_failure=give_back)
def cleanup(server: str) -> str:
    return use(server=server, rented=rent(server=server))
