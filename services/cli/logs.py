"""`airscrew logs`: what a task wrote."""

from __future__ import annotations

import click

from services.cli import follow, names
from services.cli.options import Client, asks_admin


@click.command()
@click.argument("node", metavar="EXECUTION/NODE[/ATTEMPT]")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the attempt ends.")
@asks_admin
async def logs(client: Client, node: str, following: bool) -> int:
    """Print what a task wrote to its standard output and error; of the latest attempt unless another is named."""
    wanted = names.node(node, client.project, client.domain)
    wanted = names.NodeRef(await client.admin.resolve(wanted.execution), wanted.node, wanted.attempt)
    lines = _Lines()
    async for chunk in follow.logs(client.admin, wanted, follow=following):
        if not client.output.as_json:
            client.output.raw(chunk.content)
            continue
        for line in lines.complete(chunk.content):
            client.output.record({"attempt": chunk.attempt, "line": line}, "")
    if rest := lines.rest():
        client.output.record({"attempt": wanted.attempt, "line": rest}, "")
    return 0


class _Lines:
    """Cuts a stream of bytes into lines of text."""

    def __init__(self) -> None:
        self._begun = b""

    def complete(self, content: bytes) -> list[str]:
        *whole, self._begun = (self._begun + content).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def rest(self) -> str:
        """What came after the last line end."""
        return self._begun.decode(errors="replace")
