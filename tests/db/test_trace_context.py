"""The trace context of a task: stored by every kind of send, returned by every kind of claim, kept in history."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import ClaimMode
from tests.support.declared import declaration, declare
from tests.support.factories import DrivenWorker, batch_of, done, ended_task, failed, request, send, send_once, unique
from tests.support.flow import declare_queue, rate
from tests.support.sessions import Session, call, scalar

PARENT, SPAN, LATER = (f"00-{digit * 32}-{digit * 16}-01" for digit in "abc")
CONTEXT = {"traceparent": PARENT, "tracestate": "vendor=1"}
SENT = json.dumps(CONTEXT).encode()
RETRIED = RetryPolicy.fixed([1], auto_retry_for=["BOOM"])


def stored(db: Session, task_id: UUID | None, table: str = "tasks") -> Any:
    text = scalar(db, f"select trace_context::text from horsies.{table} where id = %s", task_id)
    return None if text is None else json.loads(text)


def by_enqueue(db: Session) -> UUID:
    return send(db, request(trace_context=SENT))


def by_enqueue_many(db: Session) -> UUID:
    wanted = request(trace_context=SENT)
    call(db, task_queries.enqueue_many(batch_of([wanted]), replay=False))
    return wanted.task_id


def by_a_replay_of_enqueue_many(db: Session) -> UUID:
    wanted = request(trace_context=SENT)
    with db.transaction():
        call(db, task_queries.enqueue_many(batch_of([wanted]), replay=True))
    return wanted.task_id


def by_enqueue_once(db: Session) -> UUID:
    wanted = request(key="k", trace_context=SENT)
    assert send_once(db, wanted)[0] == "sent"
    return wanted.task_id


def by_replacing(db: Session) -> UUID:
    replacing = unique(on_conflict="replace")
    first = request(unique=replacing, trace_context=b'{"traceparent": "old"}')
    send_once(db, first)
    assert send_once(db, request(unique=replacing, trace_context=SENT)) == ("replaced", first.task_id)
    return first.task_id


def by_rerun(db: Session) -> UUID:
    new_id = request().task_id
    assert call(db, task_queries.rerun(ended_task(db), new_id, trace_context=SENT)) == "sent"
    return new_id


def by_bulk_rerun(db: Session) -> UUID:
    origin, new_id = ended_task(db), request().task_id
    again = monitoring_queries.rerun_many([origin], [0], [new_id], trace_context=SENT)
    assert call(db, again) == {origin: "sent"}
    return new_id


def by_sql(db: Session) -> UUID:
    declare(db, declaration("add"))
    return scalar(db, "select horsies.send('add', '{\"a\": 1, \"b\": 2}', trace_context => %s::json)", SENT.decode())


def by_sql_with_a_key(db: Session) -> UUID:
    declare(db, declaration("add"))
    query = "select horsies.send('add', '{\"a\": 1, \"b\": 2}', idempotency_key => 'k', trace_context => %s::json)"
    return scalar(db, query, SENT.decode())


@pytest.mark.parametrize(
    "way",
    [
        by_enqueue,
        by_enqueue_many,
        by_a_replay_of_enqueue_many,
        by_enqueue_once,
        by_replacing,
        by_rerun,
        by_bulk_rerun,
        by_sql,
        by_sql_with_a_key,
    ],
)
def test_a_send_stores_it(db: Session, way: Callable[[Session], UUID]) -> None:
    assert stored(db, way(db)) == CONTEXT


def test_it_is_no_part_of_the_request(db: Session) -> None:
    wanted = request(trace_context=SENT)
    send(db, wanted)
    other = task_queries.enqueue(request(wanted.task_id, trace_context=b'{"traceparent": "x"}'), replay=True)
    assert call(db, other) == "known"
    assert stored(db, wanted.task_id) == CONTEXT


@pytest.mark.parametrize("mode", ClaimMode)
@pytest.mark.parametrize("queue", ["plain", "prefetched", "turns", "rate"])
def test_a_claim_returns_it(db: Session, queue: str, mode: ClaimMode) -> None:
    worker = DrivenWorker(db, queues=(queue,))
    if queue in ("turns", "rate"):
        declare_queue(
            db, queue, **({"takes_turns": True} if queue == "turns" else {"takes_turns": False, "rate": rate(9, 1, 9)})
        )
    traced, plain = (
        send(db, request(queue=queue, task_key=key, trace_context=given)) for key, given in (("a", SENT), ("b", None))
    )
    lease_s = 60 if queue == "prefetched" else None
    found = call(db, worker_queries.claim(worker.id, 1, 3, [queue], ["add"], free=3, lease_s=lease_s, mode=mode))
    contexts = {task.id: task.trace_context and json.loads(task.trace_context) for task in found.tasks}
    assert contexts == {traced: CONTEXT, plain: None}
    assert not found.is_filled


def test_a_retry_and_history_know_the_latest_attempt(db: Session) -> None:
    task_id, worker = send(db, request(trace_context=SENT, retry=RETRIED)), DrivenWorker(db)
    assert worker.finish(failed(worker.claim_one())._replace(traceparent=SPAN)) == ["accepted"]
    assert stored(db, task_id) == {**CONTEXT, "attempt": SPAN}
    db.execute("update horsies.tasks set run_at = horsies.now()")
    assert worker.finish(done(worker.claim_one())._replace(traceparent=LATER)) == ["accepted"]
    assert stored(db, task_id, "history") == {**CONTEXT, "attempt": LATER}


def test_an_attempt_without_a_span_leaves_it_as_it_was(db: Session) -> None:
    retried, plain, worker = send(db, request(trace_context=SENT, retry=RETRIED)), send(db), DrivenWorker(db)
    first, second = worker.claim(2)
    assert worker.finish(failed(first), done(second)) == ["accepted", "accepted"]
    assert (stored(db, retried), stored(db, plain, "history")) == (CONTEXT, None)


def test_outcomes_that_are_written_one_by_one_keep_their_own_spans(db: Session) -> None:
    """A result that the database refuses makes it write each outcome of the batch separately."""
    tasks, worker = [send(db), send(db)], DrivenWorker(db)
    first, second = worker.claim(2)
    outcomes = [done(first, b"{")._replace(traceparent=SPAN), done(second)._replace(traceparent=LATER)]
    assert worker.finish(*outcomes) == ["accepted", "accepted"]
    assert [stored(db, each, "history") for each in tasks] == [{"attempt": SPAN}, {"attempt": LATER}]


def test_a_transactional_task_stores_the_span_of_its_attempt(db: Session) -> None:
    task_id, worker = send(db, request(trace_context=SENT)), DrivenWorker(db)
    fence = worker.claim_one()
    with db.transaction():
        db.execute(f"set local horsies.fence = '{worker.id}/{fence.task_id}/{fence.exchange_no}'")
        own = worker_queries.finish_own(worker.id, fence, b"1", hostname="h", pid=1, process_name="p", traceparent=SPAN)
        call(db, own)
    assert stored(db, task_id, "history") == {**CONTEXT, "attempt": SPAN}
