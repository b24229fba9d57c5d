from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from types import FrameType

import pytest
from flyteidl.core import dynamic_job_pb2, workflow_pb2

from libs.workflow import compiler
from tests.support.compiling import MAKE, TASKS, branch, chain, compiled
from tests.support.templates import constant, list_of, node, promise, workflow


def star(length: int) -> workflow_pb2.WorkflowTemplate:
    """Everything reads the first node and is read by the last."""
    middle = [node(f"n{at}", "double", x="first.o0") for at in range(length)]
    gathered = list_of(*(promise(f"n{at}.o0") for at in range(length)))
    return workflow(*middle, node("first", "make"), node("last", "total", xs=gathered))


def branches(length: int) -> workflow_pb2.WorkflowTemplate:
    return workflow(
        MAKE, *(branch(f"b{at}", node("n0", "make"), otherwise=node("n1", "make"), a="n0.o0") for at in range(length))
    )


def wrong(length: int) -> workflow_pb2.WorkflowTemplate:
    return workflow(*(node(f"n{at}", "double", y=f"n{at + 1}.o7") for at in range(length)))


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, ours and built-in ones: the same in every run, unlike time."""
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def compiling(template: workflow_pb2.WorkflowTemplate) -> Callable[[], object]:
    return lambda: compiled(template)


@pytest.mark.parametrize("shape", [chain, star, branches, wrong])
def test_the_work_per_node_does_not_grow_with_the_workflow(
    shape: Callable[[int], workflow_pb2.WorkflowTemplate],
) -> None:
    few, many = calls(compiling(shape(300))), calls(compiling(shape(3000)))
    assert many < 10.2 * few


def test_a_dynamic_job_is_compiled_with_the_same_work_per_node() -> None:
    def generated(length: int) -> Callable[[], object]:
        template = chain(length)
        spec = dynamic_job_pb2.DynamicJobSpec(
            nodes=template.nodes, outputs=template.outputs, tasks=[one.template for one in TASKS]
        )
        return lambda: compiler.compile_dynamic(spec, template.id, template.interface)

    assert calls(generated(3000)) < 10.2 * calls(generated(300))


def test_ten_thousand_nodes_of_half_a_kilobyte_compile_in_three_seconds_and_500_megabytes() -> None:
    said = constant("x" * 900)
    template = chain(5_000)
    template.nodes.extend(node(f"s{at}", "say", s=said) for at in range(5_000))
    assert template.ByteSize() > 5_000_000
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    closure = compiler.compile_workflow(template, (), TASKS)
    assert time.process_time() - start < 3
    assert len(closure.primary.template.nodes) == 10_002
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 500 * 1024
