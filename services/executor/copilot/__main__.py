"""`python -m services.executor.copilot download|upload …`: the containers beside that of a task with `data_config`."""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final

from flyteidl.core import interface_pb2, tasks_pb2
from google.protobuf.message import DecodeError

from libs.blob import layout
from services.executor.copilot import deliver, failure, fetch
from services.executor.copilot.places import Places

logger = logging.getLogger("copilot")

_ERROR_SECONDS: Final = 20.0
"""For the report of a failure, after the time for the work itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all is where it belongs, or, after the task has run, what went wrong is."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="copilot: %(message)s")
    options = _parser().parse_args(arguments)
    return asyncio.run(_download(options) if options.command == "download" else _upload(options))


class _End(Enum):
    """How it went."""

    DONE = auto()
    REPORTED = auto()
    """Not well, and error.pb says so."""
    UNREPORTED = auto()


async def _download(options: argparse.Namespace) -> int:
    """The task must not start without its inputs."""
    # The first process of a container hears no signal that it has no handler for.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 128 + signal.SIGTERM)
    os.umask(0)  # whoever the task's container runs as may read and change what is there

    async def work() -> None:
        form = tasks_pb2.DataLoadingConfig.LiteralMapFormat.Value(options.format)
        await fetch.fetch(Places(), options.inputs, options.directory, form, with_data=not options.no_data)
        logger.info("the inputs are in %s", options.directory)

    return 0 if await _done(work, options, failure.DOWNLOAD) is _End.DONE else 1


async def _upload(options: argparse.Namespace) -> int:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    if options.ready:
        options.ready.touch()
    await ended.wait()

    async def work() -> None:
        places = Places()
        outputs = await deliver.deliver(places, options.interface.outputs, options.directory, options.raw_prefix)
        await places.write(_at(options, layout.OUTPUTS), outputs.SerializeToString(deterministic=True))
        logger.info("the outputs are at %s", options.output_prefix)

    return 1 if await _done(work, options, failure.UPLOAD) is _End.UNREPORTED else 0


async def _done(work: Callable[[], Awaitable[None]], options: argparse.Namespace, code: str) -> _End:
    try:
        async with asyncio.timeout(options.timeout):
            await work()
        return _End.DONE
    except Exception as error:
        failed = failure.of(error, code)
        logger.error("%s: %s", failed.code or code, failed, exc_info=not isinstance(error, failure.Failure))
    try:
        async with asyncio.timeout(_ERROR_SECONDS):
            await Places().write(_at(options, layout.ERROR), failure.document(failed, code))
        return _End.REPORTED
    except Exception:
        logger.exception("error.pb could not be written")
        return _End.UNREPORTED


def _at(options: argparse.Namespace, name: str) -> str:
    return f"{options.output_prefix.rstrip('/')}/{name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.executor.copilot", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output-prefix", required=True, metavar="URI", help="where outputs.pb or error.pb goes")
    common.add_argument("--directory", required=True, type=Path, help="of the files, shared with the task's container")
    common.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="for all of the work")
    download = commands.add_parser("download", parents=[common], help="inputs become files")
    download.add_argument("--inputs", required=True, metavar="URI", help="of inputs.pb")
    forms = tasks_pb2.DataLoadingConfig.LiteralMapFormat.keys()
    download.add_argument("--format", choices=forms, default="JSON", help="of the file with all inputs")
    download.add_argument("--no-data", action="store_true", help="leave blobs where they are")
    upload = commands.add_parser("upload", parents=[common], help="after SIGTERM, files become outputs")
    upload.add_argument("--raw-prefix", required=True, metavar="URI", help="where the files of outputs go")
    upload.add_argument("--interface", required=True, type=_interface, help="flyteidl.core.TypedInterface, in base64")
    upload.add_argument("--ready", type=Path, metavar="FILE", help="is made once SIGTERM will be heard")
    return parser


def _interface(text: str) -> interface_pb2.TypedInterface:
    try:
        return interface_pb2.TypedInterface.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, DecodeError) as error:
        raise argparse.ArgumentTypeError(f"is no interface: {error}") from None


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not by way of the interpreter's end: threads of obstore that still let go of what they had abort the process then,
    # one time in ten, and what was done would pass for a failure.
    os._exit(code)
