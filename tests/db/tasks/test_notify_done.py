"""`notify_done`: notifies waiters that tasks have ended."""

from uuid import UUID

import pytest

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, done, failed, numbered_id, request, send
from tests.support.sessions import Ear, Session, call

LONGEST_PAYLOAD = 7999


def ids_in(payload: str) -> list[UUID]:
    return [UUID(hex=payload[start : start + 32]) for start in range(0, len(payload), 32)]


def test_ids_come_packed_as_hex_digits(db: Session, other: Session) -> None:
    ear = Ear(db, "done")
    ids = [numbered_id(number) for number in range(5)]
    call(other, worker_queries.notify_done(ids, with_results=True))
    (payload,) = ear.heard()
    assert ids_in(payload) == ids


@pytest.mark.parametrize("name", ["add", "add up"])
def test_the_outcomes_of_few_tasks_are_sent(db: Session, other: Session, name: str) -> None:
    ear, worker = Ear(db, "done"), DrivenWorker(db, names=[name])
    succeeds, fails = (send(db, request(numbered_id(number), name=name)) for number in range(2))
    first, second = worker.claim(2)
    worker.finish(done(first, '{"ä": "b\\n"}'.encode()), failed(second))
    call(other, worker_queries.notify_done([succeeds, fails], with_results=True))
    success, failure = ear.heard()
    assert success == f'{succeeds.hex} COMPLETED {name}\n{{"ä": "b\\n"}}'
    assert failure.startswith(f'{fails.hex} FAILED {name}\n{{"error_code": "BOOM"')


@pytest.mark.parametrize(("name", "result"), [("add", f'"{"ä" * 4000}"'), ("add\n", "1")], ids=["long", "odd name"])
def test_an_outcome_that_does_not_fit_is_not_sent(db: Session, other: Session, name: str, result: str) -> None:
    ear, worker = Ear(db, "done"), DrivenWorker(db, names=[name])
    ended = send(db, request(name=name))
    worker.finish(done(worker.claim_one(), result.encode()))
    call(other, worker_queries.notify_done([ended], with_results=True))
    assert ear.heard() == [ended.hex]


def test_a_task_that_has_not_ended_is_notified_by_id_only(db: Session, other: Session) -> None:
    ear, waiting = Ear(db, "done"), send(db)
    call(other, worker_queries.notify_done([waiting], with_results=True))
    assert ear.heard() == [waiting.hex]


def test_many_ids_come_in_as_many_notices_as_it_takes(db: Session, other: Session) -> None:
    ear = Ear(db, "done")
    ids = [numbered_id(number) for number in range(1001)]
    call(other, worker_queries.notify_done(ids, with_results=True))
    payloads = ear.heard()
    assert len(payloads) == 6
    assert max(map(len, payloads)) <= LONGEST_PAYLOAD
    assert sorted(found for payload in payloads for found in ids_in(payload)) == ids


def test_no_notice_is_sent_for_no_tasks(db: Session, other: Session) -> None:
    ear = Ear(db, "done")
    call(other, worker_queries.notify_done([], with_results=True))
    other.execute("select horsies.notify_done(null, false)")
    assert ear.heard() == []


def test_without_results_a_notice_contains_ids_only(db: Session, other: Session) -> None:
    ear, worker = Ear(db, "done"), DrivenWorker(db)
    ended = send(db)
    worker.finish(done(worker.claim_one()))
    call(other, worker_queries.notify_done([ended], with_results=False))
    assert ear.heard() == [ended.hex]
