"""Generates `protos/*_pb2*.py` from `protos/*.proto`.

Our protos import flyteidl's, whose package ships no .proto files: its descriptors are read from the installed generated
modules, handed to protoc as a descriptor set, and so never copied into this repository.

Usage: `python deploy/dev/generate_protos.py [DIRECTORY]`; run from the repository root. With DIRECTORY the code goes
there instead (the freshness test compares it with the committed one).
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = (
    "flyteidl.core.identifier_pb2",
    "flyteidl.core.literals_pb2",
    "flyteidl.admin.execution_pb2",
    "flyteidl.admin.node_execution_pb2",
    "flyteidl.admin.signal_pb2",
)


def descriptor_set(modules: Iterable[str]) -> descriptor_pb2.FileDescriptorSet:
    """The descriptors of generated modules and of everything that they import, dependencies first."""
    result = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        file.CopyToProto(result.file.add())

    for module in modules:
        add(importlib.import_module(module).DESCRIPTOR)
    return result


def generate(target: Path) -> None:
    """Writes the generated code below `target` (as `target/protos/…`). Raises SystemExit when protoc refuses."""
    scripts = Path(
        sys.executable
    ).parent  # protoc would look on PATH, where an environment that is not active is absent
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "protos").glob("*.proto"))
    with tempfile.NamedTemporaryFile(suffix=".binpb") as descriptors:
        descriptors.write(descriptor_set(IMPORTED).SerializeToString())
        descriptors.flush()
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={ROOT}",
                f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
                f"--descriptor_set_in={descriptors.name}",
                f"--python_out={target}",
                f"--grpc_python_out={target}",
                f"--mypy_out=quiet:{target}",
                f"--mypy_grpc_out=quiet:{target}",
                *(f"--plugin={plugin}={scripts / plugin}" for plugin in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
                *sources,
            ]
        )
    if status:
        raise SystemExit(f"protoc ended with status {status}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)
