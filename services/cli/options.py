"""Options that commands share, and the way from an option to a connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from libs.workflow.errors import Unavailable
from libs.workflow.identity import ExecutionId
from services.cli import endpoint, names
from services.cli.api import Admin, connected
from services.cli.output import Output

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Client:
    """What a command needs to do its work: the server, the defaults for names, and where the answer goes."""

    admin: Admin
    project: str
    domain: str
    output: Output

    async def execution(self, text: str) -> ExecutionId:
        """The execution that the user means, `@latest` resolved."""
        return await self.admin.resolve(names.execution(text, self.project, self.domain))


def output(command: F) -> F:
    """Adds `-o`."""
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(["plain", "json"]),
        default="plain",
        show_default=True,
        help="Form of the answer.",
    )
    return option(command)


def asks_admin(work: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., int]:
    """Makes a coroutine `work(client, **arguments) -> exit code` a command's body, with the options of every client."""

    @click.option("--endpoint", "address", metavar="HOST:PORT", help="Where admin is.  [env: AIRSCREW_ENDPOINT]")
    @click.option("-p", "--project", default=names.DEFAULT_PROJECT, show_default=True)
    @click.option("-d", "--domain", default=names.DEFAULT_DOMAIN, show_default=True)
    @output
    @wraps(work)
    def body(address: str | None, project: str, domain: str, output: str, **arguments: Any) -> int:
        where = endpoint.find(address, os.environ)
        answers = Output(as_json=output == "json")

        async def run() -> int:
            async with connected(where) as admin:
                return await work(Client(admin, project, domain, answers), **arguments)

        try:
            return asyncio.run(run())
        except Unavailable as error:
            raise Unavailable(
                f"{where.address} ({where.source}) does not answer: {error.message}. "
                "Start a system with `airscrew start`, or say where it is with --endpoint"
            ) from error

    return body
