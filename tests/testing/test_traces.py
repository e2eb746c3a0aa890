"""Spans of sends, attempts, retries and workflow runs, in one process with the testing kit."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from horsies import (
    AppConfig,
    Horsies,
    PostgresConfig,
    RateLimited,
    RetryPolicy,
    TaskError,
    TaskResult,
    TaskStatus,
    WorkflowSpec,
    from_node,
)
from horsies.testing import TestQueue
from tests.support.sessions import open_session, scalar
from tests.support.spans import Spans, context_of, id_of, links_of, traced

SECRET = "correct horse battery staple"
seen: dict[str, Any] = {}


def new_app(**settings: Any) -> Horsies:
    return Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/nowhere"), **settings))


app = new_app()
child_app = new_app(trace_relation="child", trace_baggage=True)


@app.task("add")
def add(a: int, b: int = 1) -> TaskResult[int, TaskError]:
    seen["span"] = trace.get_current_span().get_span_context()
    seen["baggage"] = baggage.get_all()
    with trace.get_tracer("shop").start_as_current_span("inner"):
        return TaskResult(ok=a + b)


@app.task("add_async")
async def add_async(a: int) -> TaskResult[int, TaskError]:
    await asyncio.sleep(0)
    with trace.get_tracer("shop").start_as_current_span("inner"):
        return TaskResult(ok=a)


@app.task("reject", retry_policy=RetryPolicy.fixed([1], auto_retry_for=["BUSY"]))
def reject(password: str) -> TaskResult[None, TaskError]:
    seen["attempts"] = seen.get("attempts", 0) + 1
    if seen["attempts"] == 1:
        return TaskResult(err=TaskError(error_code="BUSY", message=password))
    raise ValueError(password)


@app.task("wait")
def wait() -> TaskResult[None, TaskError]:
    raise RateLimited(retry_after=5)


@app.task("charge", transactional=True)
def charge(connection: psycopg.Connection[Any], a: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a)


@app.task("double")
def double(before: TaskResult[int, TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=2 * before.unwrap())


@app.task("numbers")
def numbers() -> TaskResult[list[int], TaskError]:
    return TaskResult(ok=[1, 2])


@app.task("count")
def count(items: TaskResult[list[TaskResult[int, TaskError]], TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=len(items.unwrap()))


@child_app.task("add_child")
def add_child(a: int) -> TaskResult[int, TaskError]:
    seen["baggage"] = dict(baggage.get_all())
    return TaskResult(ok=a)


def flow() -> WorkflowSpec[int]:
    first, second = add.node(node_id="first")(1), add_async.node(node_id="second")(2)
    last = double.node(node_id="last", waits_for=[first, second])(from_node(first))
    return app.workflow("flow", [first, second, last], output=last, definition_key="tests.traces.v1")


@pytest.fixture
def spans() -> Iterator[Spans]:
    seen.clear()
    with traced() as found:
        yield found


@pytest.fixture
def queue(database_url: str) -> Iterator[TestQueue]:
    with TestQueue(app, database_url=database_url) as running:
        yield running


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_an_attempt_begins_a_trace_that_is_linked_to_the_send(queue: TestQueue, spans: Spans) -> None:
    with trace.get_tracer("shop").start_as_current_span("request") as request:
        handle = add.send(1, 2).unwrap()
    queue.drain()
    sent, processed, inner = spans.one("send add"), spans.one("process add"), spans.one("inner")
    assert (sent.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert sent.parent == request.get_span_context()
    assert processed.parent is None
    assert context_of(processed).trace_id != context_of(sent).trace_id
    assert links_of(processed) == [("send", id_of(sent))]
    assert seen["span"] == context_of(processed) == inner.parent
    common = {
        "messaging.system": "horsies",
        "messaging.destination.name": "default",
        "messaging.message.id": handle.task_id,
        "horsies.task.name": "add",
    }
    operation = ("messaging.operation.name", "messaging.operation.type")
    assert attributes(sent) == {**common, **dict.fromkeys(operation, "send")}
    process = {**common, **dict.fromkeys(operation, "process"), "horsies.attempt": 1, "horsies.outcome": "completed"}
    assert attributes(processed) == process
    assert not trace.get_current_span().get_span_context().is_valid


def test_with_the_relation_child_the_attempt_belongs_to_the_trace_of_the_send(database_url: str, spans: Spans) -> None:
    with TestQueue(child_app, database_url=database_url) as queue:
        token = context.attach(baggage.set_baggage("tenant", "seven"))
        add_child.send(1).unwrap()
        context.detach(token)
        queue.drain()
    sent, processed = spans.one("send add_child"), spans.one("process add_child")
    assert processed.parent is not None
    assert (processed.parent.span_id, processed.links) == (id_of(sent), ())
    assert seen["baggage"] == {"tenant": "seven"}


def test_baggage_is_carried_only_if_the_app_wants_it_and_it_fits(
    queue: TestQueue, database_url: str, spans: Spans
) -> None:
    token = context.attach(baggage.set_baggage("tenant", "seven"))
    add.send(1).unwrap()
    context.detach(token)
    queue.drain()
    assert seen["baggage"] == {}
    token = context.attach(baggage.set_baggage("b", "y" * 4090, baggage.set_baggage("a", "x" * 4090)))
    with TestQueue(child_app, database_url=database_url) as other:
        add_child.send(1).unwrap()
        context.detach(token)
        other.drain()
    assert seen["baggage"] == {}
    assert spans.one("process add_child").parent is not None


def test_the_span_of_an_asynchronous_task_is_current_in_it(queue: TestQueue, spans: Spans) -> None:
    add_async.send(1).unwrap()
    queue.drain()
    assert spans.one("inner").parent == context_of(spans.one("process add_async"))


def test_a_retry_is_linked_to_the_attempt_before_and_no_argument_is_exported(queue: TestQueue, spans: Spans) -> None:
    reject.send(SECRET).unwrap()
    queue.drain()
    queue.advance("10 s")
    queue.drain()
    first, second = spans.named("process reject")
    sent = id_of(spans.one("send reject"))
    assert links_of(first) == [("send", sent)]
    assert links_of(second) == [("send", sent), ("attempt", id_of(first))]
    assert [attributes(each)["error.type"] for each in (first, second)] == ["BUSY", "UNHANDLED_EXCEPTION"]
    assert [attributes(each)["horsies.attempt"] for each in (first, second)] == [1, 2]
    assert {each.status.status_code for each in (first, second)} == {StatusCode.ERROR}
    assert not any(SECRET in each.to_json() for each in spans.all())


def test_a_postponed_attempt_is_no_error(queue: TestQueue, spans: Spans) -> None:
    wait.send().unwrap()
    queue.drain()
    processed = spans.one("process wait")
    assert attributes(processed)["horsies.outcome"] == "postponed"
    assert (processed.status.status_code, "error.type" in attributes(processed)) == (StatusCode.UNSET, False)


def test_a_transactional_task_stores_its_span(queue: TestQueue, database_url: str, spans: Spans) -> None:
    handle = charge.send(1).unwrap()
    queue.drain()
    with open_session(database_url) as session:
        query = "select trace_context ->> 'attempt' from horsies.history where id = %s"
        stored: str = scalar(session, query, handle.task_id)
    assert stored.split("-")[2] == trace.format_span_id(id_of(spans.one("process charge")))


def test_all_tasks_of_send_many_are_linked_to_one_span(queue: TestQueue, spans: Spans) -> None:
    handles = add.send_many((number,) for number in range(3)).unwrap()
    app.send_many([add.args(1), add_async.args(2)]).unwrap()
    queue.drain()
    sent, mixed = spans.one("send add"), spans.one("send several tasks")
    assert attributes(sent)["messaging.batch.message_count"] == len(handles) == 3
    assert attributes(mixed)["messaging.batch.message_count"] == 2
    expected = [[("send", id_of(sent))]] * 3 + [[("send", id_of(mixed))]]
    assert [links_of(each) for each in spans.named("process add")] == expected


def test_a_send_with_a_key_names_the_task_that_stands_for_it(queue: TestQueue, spans: Spans) -> None:
    keyed = add.with_options(idempotency_key="order-1")
    ids = {keyed.send(1).unwrap().task_id, keyed.send(1).unwrap().task_id}
    assert {attributes(each)["messaging.message.id"] for each in spans.named("send add")} == ids
    queue.drain()
    assert links_of(spans.one("process add")) == [("send", id_of(spans.named("send add")[0]))]


def test_a_send_in_a_transaction_of_the_caller_carries_its_span(
    queue: TestQueue, database_url: str, spans: Spans
) -> None:
    with psycopg.connect(database_url) as connection:
        add.with_options(connection=connection).send(1).unwrap()
    queue.drain()
    assert links_of(spans.one("process add")) == [("send", id_of(spans.one("send add")))]


def test_an_asynchronous_send_is_a_child_of_the_span_of_its_caller(queue: TestQueue, spans: Spans) -> None:
    async def handle_request() -> int:
        with trace.get_tracer("shop").start_as_current_span("request") as request:
            (await add.send_async(1)).unwrap()
        return request.get_span_context().span_id

    parent = spans.one("send add").parent if (request := asyncio.run(handle_request())) else None
    assert parent is not None
    assert parent.span_id == request
    queue.drain()


def test_a_failed_send_has_its_code(spans: Spans) -> None:
    failed = add.send(1)
    sent = spans.one("send add")
    assert attributes(sent)["error.type"] == failed.err_value.code
    assert sent.status.status_code is StatusCode.ERROR


def test_a_rerun_is_linked_to_the_span_of_the_rerun(queue: TestQueue, spans: Spans) -> None:
    handle = add.send(1).unwrap()
    queue.drain()
    again = app.rerun(handle.task_id).unwrap()
    queue.drain()
    sent = spans.one("send")
    assert attributes(sent)["messaging.message.id"] == again.task_id
    assert links_of(spans.named("process add")[1]) == [("send", id_of(sent))]


def test_the_tasks_of_a_bulk_rerun_are_linked_to_its_span(queue: TestQueue, spans: Spans) -> None:
    for number in range(2):
        add.send(number).unwrap()
    queue.drain()
    broker = app.get_broker()
    preview = asyncio.run(broker.preview_rerun([TaskStatus.COMPLETED], task_name="add")).unwrap()
    outcomes = asyncio.run(broker.rerun_tasks(preview.candidates)).unwrap()
    assert [each.verdict for each in outcomes] == ["sent", "sent"]
    queue.drain()
    sent = id_of(spans.one("send"))
    assert [links_of(span) for span in spans.named("process add")[2:]] == [[("send", sent)]] * 2


def test_nodes_of_a_run_are_linked_to_its_start_and_to_the_nodes_before(queue: TestQueue, spans: Spans) -> None:
    run = flow().start().unwrap()
    queue.drain()
    sent = spans.one("send flow")
    assert attributes(sent)["horsies.workflow.name"] == "flow"
    assert attributes(sent)["messaging.message.id"] == run.workflow_id
    first, second, last = (spans.one(f"process {name}") for name in ("add", "add_async", "double"))
    assert links_of(first) == links_of(second) == [("send", id_of(sent))]
    assert links_of(last) == [("send", id_of(sent)), ("upstream", id_of(first)), ("upstream", id_of(second))]


def test_the_node_behind_a_map_is_linked_to_the_task_that_has_expanded_it(queue: TestQueue, spans: Spans) -> None:
    found = numbers.node(node_id="found")()
    each = add.map(over=from_node(found), node_id="each")(b=1)
    total = count.node(node_id="total")(from_node(each))
    app.workflow("totals", [found, each, total], output=total, definition_key="tests.totals.v1").start().unwrap()
    queue.drain()
    sent = id_of(spans.one("send totals"))
    before = [("send", sent), ("upstream", id_of(spans.one("process numbers")))]
    assert [links_of(item) for item in spans.named("process add")] == [before] * 2
    expanded = spans.named("process horsies.map")[0]
    assert links_of(spans.one("process count")) == [("send", sent), ("upstream", id_of(expanded))]


def test_a_task_that_was_sent_from_sql_without_a_context_has_no_link(
    queue: TestQueue, database_url: str, spans: Spans
) -> None:
    parent = f"00-{uuid4().hex}-{uuid4().hex[:16]}-01"
    with open_session(database_url) as session:
        send = "select horsies.send('add', '{\"a\": 1}', queue => 'default', trace_context => %s::json)"
        session.execute(send, (None,))
        session.execute(send, (f'{{"traceparent": "{parent}"}}',))
    queue.drain()
    without, linked = spans.named("process add")
    assert (without.links, without.parent) == ((), None)
    assert [trace.format_span_id(link.context.span_id) for link in linked.links] == [parent.split("-")[2]]


@pytest.mark.parametrize("stored", ["1", "null", "[]", '[{"attempt": "old"}]', '{"links": 1}', '{"traceparent": 5}'])
def test_a_stored_context_that_is_not_valid_changes_no_task_and_is_not_blamed_on_a_processor(
    queue: TestQueue, database_url: str, spans: Spans, caplog: pytest.LogCaptureFixture, stored: str
) -> None:
    handle = add.send(1).unwrap()
    with open_session(database_url) as session:
        session.execute("update horsies.tasks set trace_context = %s::jsonb", (stored,))
    with caplog.at_level(logging.WARNING, "horsies"):
        queue.drain()
    assert handle.get(timeout_ms=0).ok_value == 2
    assert (spans.one("process add").links, spans.one("process add").parent) == ((), None)
    logged = [record.getMessage() for record in caplog.records if record.getMessage().startswith("trace.failed")]
    assert logged
    assert all("trace context of the task is not valid" in each for each in logged)


def test_without_a_tracer_provider_nothing_is_stored(queue: TestQueue, database_url: str) -> None:
    handle = add.send(1).unwrap()
    queue.drain()
    with open_session(database_url) as session:
        query = "select trace_context is null from horsies.history where id = %s"
        assert scalar(session, query, handle.task_id) is True


class Broken(SpanProcessor):
    """Fails at the start and the end of every span, as a faulty processor of a user does."""

    def on_start(self, span: object, parent_context: object = None) -> None:  # noqa: ARG002
        raise RuntimeError(SECRET)


def test_a_processor_that_fails_changes_no_task_and_is_logged_by_its_type(
    queue: TestQueue, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "horsies"), traced(Broken()):
        handle = charge.send(1).unwrap()
        queue.drain()
    logged = [record.getMessage() for record in caplog.records if record.getMessage().startswith("trace.failed")]
    assert handle.get(timeout_ms=0).ok_value == 1
    assert logged
    assert not any(SECRET in each for each in logged)
