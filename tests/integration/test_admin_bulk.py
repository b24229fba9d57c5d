"""Executions in bulk: created as CreateExecution does it, with an answer for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pytest
from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core import identifier_pb2 as identifier
from flyteidl.core import literals_pb2 as literals

from libs.workflow.identity import valid_execution_name
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import ExecutionState
from protos import airscrew_pb2, airscrew_pb2_grpc, queue_pb2, queue_pb2_grpc
from services.admin.api.bulk import MAX_ITEMS
from tests.support import flyte, refusal_cases
from tests.support.admin import Door, Leader
from tests.support.refusal_cases import PLAN, PLAN_WITH_FIXED, TAKEN, good_inputs, integer, number, rows, string
from tests.support.smalltasks import Registrar

pytestmark = pytest.mark.timeout(90)

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

Request = airscrew_pb2.SubmitExecutionsRequest
Reply = airscrew_pb2.SubmitExecutionsReply
Item = Request.Item


@pytest.fixture
def registrar(user: flyte.Client) -> Iterator[Registrar]:
    """Somebody who has registered launch plans; the name `TAKEN` is taken."""
    with user.stubs() as stubs:
        registrar = Registrar(stubs)
        refusal_cases.prepare(registrar)
        yield registrar


@pytest.fixture
def ours(admin: Door) -> Iterator[airscrew_pb2_grpc.AirscrewStub]:
    with grpc.insecure_channel(admin.endpoint) as channel:
        yield airscrew_pb2_grpc.AirscrewStub(channel)


def common(plan: str = PLAN, **changed: Any) -> execution_pb2.ExecutionCreateRequest:
    request = execution_pb2.ExecutionCreateRequest(project=flyte.PROJECT, domain=flyte.DOMAIN)
    launched = request.spec.launch_plan
    launched.resource_type, launched.project, launched.domain = identifier.LAUNCH_PLAN, flyte.PROJECT, flyte.DOMAIN
    launched.name, launched.version = plan, "small"
    request.MergeFrom(execution_pb2.ExecutionCreateRequest(**changed))
    return request


def good(*names: str) -> list[Item]:
    return [Item(name=name, inputs=good_inputs()) for name in names]


def inputs_of(state: ExecutionState) -> literals.LiteralMap:
    return literals.LiteralMap.FromString(state.inputs.inline or b"")


def submit(ours: airscrew_pb2_grpc.AirscrewStub, *requests: Request) -> list[Reply]:
    return list(ours.SubmitExecutions(iter(requests), timeout=60))


def outcomes(replies: Iterable[Reply]) -> list[tuple[str, str]]:
    return [
        (result.name, Reply.Outcome.Name(result.outcome).removeprefix("OUTCOME_"))
        for reply in replies
        for result in reply.results
    ]


def listed(registrar: Registrar) -> list[execution_pb2.Execution]:
    id = common_pb2.NamedEntityIdentifier(project=registrar.project, domain=registrar.domain)
    asked = common_pb2.ResourceListRequest(
        id=id,
        limit=1000,
        sort_by=common_pb2.Sort(key="created_at", direction=common_pb2.Sort.ASCENDING),
    )
    return list(registrar.stubs.admin.ListExecutions(asked, timeout=10).executions)


def test_items_become_the_executions_that_create_execution_would_have_made(
    registrar: Registrar, ours: airscrew_pb2_grpc.AirscrewStub, admin: Door, leading: Leader
) -> None:
    asked = common(
        PLAN_WITH_FIXED,
        spec=execution_pb2.ExecutionSpec(
            max_parallelism=3,
            tags=["nightly"],
            metadata=execution_pb2.ExecutionMetadata(mode=execution_pb2.ExecutionMetadata.SYSTEM, principal="robot"),
        ),
    )
    given = literals.LiteralMap(literals={"rows": rows(number(2.5))})
    one_by_one = execution_pb2.ExecutionCreateRequest()
    one_by_one.CopyFrom(asked)
    one_by_one.name = "single"
    one_by_one.inputs.CopyFrom(given)
    registrar.stubs.admin.CreateExecution(one_by_one, timeout=10, metadata=[("traceparent", TRACEPARENT)])
    request = Request(common=asked, items=[Item(name="first", inputs=given), Item(name="second", inputs=given)])
    replies = list(ours.SubmitExecutions(iter([request]), timeout=10, metadata=[("traceparent", TRACEPARENT)]))
    assert outcomes(replies) == [("first", "CREATED"), ("second", "CREATED")]
    single, first, second = (leading.load(name) for name in ("single", "first", "second"))
    assert first.key < second.key
    for state in (first, second):
        assert state.phase is ExecutionPhase.QUEUED
        assert state.spec == single.spec and inputs_of(state) == inputs_of(single) and state.principal == "robot"
        assert state.workflow == single.workflow and state.launch_plan == single.launch_plan
        assert state.traceparent.split("-")[1] == TRACEPARENT.split("-")[1]
    assert len({single.traceparent, first.traceparent, second.traceparent}) == 3
    id = common_pb2.NamedEntityIdentifier(project=registrar.project, domain=registrar.domain)
    tagged = registrar.stubs.admin.ListExecutions(
        common_pb2.ResourceListRequest(id=id, limit=10, filters="eq(execution_tag.key,nightly)"), timeout=10
    )
    assert {execution.id.name for execution in tagged.executions} == {"single", "first", "second"}


def test_an_item_that_is_refused_hurts_no_other_and_says_why_as_create_execution_does(
    registrar: Registrar, ours: airscrew_pb2_grpc.AirscrewStub
) -> None:
    items = [
        *good("before", TAKEN, "No-Name"),
        Item(name="wrong-type", inputs=good_inputs(count=string("x"))),
        Item(name="unknown", inputs=good_inputs(colour=string("x"))),
        Item(name="missing", inputs=literals.LiteralMap(literals={"count": integer(1)})),
        Item(name="deep", inputs=good_inputs(rows=rows(number(1.0), string("x")))),
        *good("before", "after"),
    ]
    (reply,) = submit(ours, Request(common=common(), items=items))
    assert [outcome for _, outcome in outcomes([reply])] == [
        *("CREATED", "EXISTS", "REFUSED", "REFUSED", "REFUSED", "REFUSED", "REFUSED", "EXISTS", "CREATED")
    ]
    assert {each.id.name for each in listed(registrar)} == {TAKEN, "before", "after"}
    for item, result in zip(items, reply.results, strict=True):
        if result.outcome != Reply.OUTCOME_REFUSED:
            continue
        with pytest.raises(grpc.RpcError) as refused:
            registrar.stubs.admin.CreateExecution(common(name=item.name, inputs=item.inputs), timeout=10)
        assert (result.code, result.reason) == (refused.value.code().value[0], refused.value.details())


def test_whoever_sends_the_same_again_creates_nothing_twice(
    registrar: Registrar, ours: airscrew_pb2_grpc.AirscrewStub
) -> None:
    halves = [
        Request(common=common(), batch="night", first=first, items=[Item(inputs=good_inputs())] * 30)
        for first in (0, 30)
    ]
    first = outcomes(submit(ours, *halves))
    again = outcomes(submit(ours, Request(common=common(), batch="night", items=[Item(inputs=good_inputs())] * 70)))
    names = [name for name, _ in first]
    assert len(set(names)) == 60 and all(map(valid_execution_name, names))
    assert [name for name, _ in again][:60] == names
    assert [outcome for _, outcome in first] == ["CREATED"] * 60
    assert [outcome for _, outcome in again] == ["EXISTS"] * 60 + ["CREATED"] * 10
    other = outcomes(submit(ours, Request(common=common(), batch="day", items=[Item(inputs=good_inputs())] * 5)))
    by_chance = outcomes(submit(ours, *[Request(common=common(), items=[Item(inputs=good_inputs())] * 5)] * 2))
    assert {outcome for _, outcome in [*other, *by_chance]} == {"CREATED"}
    assert len(listed(registrar)) == 1 + 70 + 5 + 10


def test_what_is_common_holds_until_there_is_something_else(
    registrar: Registrar, ours: airscrew_pb2_grpc.AirscrewStub, leading: Leader
) -> None:
    replies = submit(
        ours,
        Request(common=common(inputs=good_inputs()), items=[Item(name="a"), *good("b")]),
        Request(items=[Item(name="c")]),
        Request(),
        Request(common=common(PLAN_WITH_FIXED), items=[Item(name="d")]),
    )
    assert [[outcome for _, outcome in outcomes([reply])] for reply in replies] == [
        ["CREATED", "CREATED"],
        ["CREATED"],
        [],
        ["REFUSED"],
    ]
    assert [inputs_of(leading.load(name)) for name in "abc"] == [good_inputs()] * 3


def test_a_request_that_cannot_be_served_ends_the_stream_after_the_answers_to_those_before_it(
    registrar: Registrar, ours: airscrew_pb2_grpc.AirscrewStub
) -> None:
    unfit = execution_pb2.ExecutionSpec(max_parallelism=-1)
    for place, (bad, code, named) in enumerate(
        [
            (Request(common=common(name="one"), items=good("x")), "INVALID_ARGUMENT", "common.name"),
            (Request(common=common("nobody"), items=good("x")), "NOT_FOUND", "nobody"),
            (Request(common=execution_pb2.ExecutionCreateRequest()), "INVALID_ARGUMENT", "common.spec.launch_plan"),
            (Request(common=common(spec=unfit)), "INVALID_ARGUMENT", "common.spec.max_parallelism"),
            (Request(common=common(org="acme")), "INVALID_ARGUMENT", "common.org"),
            (Request(items=good("x") * (MAX_ITEMS + 1)), "INVALID_ARGUMENT", "items"),
            (Request(batch="x" * 256), "INVALID_ARGUMENT", "batch"),
        ]
    ):
        requests = [Request(common=common(), items=good(f"before-{place}")), bad, Request(items=good("after"))]
        answers = []
        with pytest.raises(grpc.RpcError) as refused:
            answers.extend(ours.SubmitExecutions(iter(requests), timeout=10))
        assert refused.value.code().name == code and named in refused.value.details()
    assert {each.id.name for each in listed(registrar)} == {TAKEN, *(f"before-{place}" for place in range(7))}


def test_the_first_request_must_say_what_is_common(ours: airscrew_pb2_grpc.AirscrewStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        submit(ours, Request(items=good("x")))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT and "common: missing" in refused.value.details()


def test_keys_of_what_was_created_reach_the_queue(
    registrar: Registrar, ours: airscrew_pb2_grpc.AirscrewStub, admin: Door
) -> None:
    submit(ours, Request(common=common(), items=good(*(f"e{number}" for number in range(50)))))
    with grpc.insecure_channel(admin.queue.address) as channel:
        queue = queue_pb2_grpc.QueueStub(channel)
        deadline = time.monotonic() + 10
        while sum(shard.added for shard in queue.Stats(queue_pb2.StatsRequest(), timeout=10).shards) < 51:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_who_does_not_read_answers_is_held_back(registrar: Registrar, ours: airscrew_pb2_grpc.AirscrewStub) -> None:
    sent = 0
    stopped = threading.Event()

    def requests() -> Iterator[Request]:
        nonlocal sent
        yield Request(common=common(), batch="endless", items=[Item(inputs=good_inputs())])
        # A refusal names what it refuses: requests and answers are large, and soon fill what may be on its way.
        unknown = literals.LiteralMap(literals={"x" * 1_000: integer(1)} | dict(good_inputs().literals))
        refused = [Item(inputs=unknown)] * 1_000
        while not stopped.is_set():
            sent += 1
            yield Request(batch="endless", first=1_000 * sent, items=refused)

    stream = ours.SubmitExecutions(requests(), timeout=60)
    next(stream)
    before = -1
    while before != sent:
        before = sent
        stopped.wait(1.0)
    assert sent < 200
    stopped.set()
    stream.cancel()
