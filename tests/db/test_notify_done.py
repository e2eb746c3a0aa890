"""`notify_done`: telling those who wait that tasks ended."""

from uuid import UUID

from horsies.db import calls_worker
from tests.support.factories import numbered_id
from tests.support.sessions import Ear, Session, call

LONGEST_PAYLOAD = 7999


def ids_in(payload: str) -> list[UUID]:
    return [UUID(hex=payload[start : start + 32]) for start in range(0, len(payload), 32)]


def test_ids_come_packed_as_hex_digits(db: Session, other: Session) -> None:
    ear = Ear(db, "done")
    ids = [numbered_id(number) for number in range(3)]
    call(other, calls_worker.notify_done(ids))
    (payload,) = ear.heard()
    assert ids_in(payload) == ids


def test_many_ids_come_in_as_many_notices_as_it_takes(db: Session, other: Session) -> None:
    ear = Ear(db, "done")
    ids = [numbered_id(number) for number in range(1001)]
    call(other, calls_worker.notify_done(ids))
    payloads = ear.heard()
    assert len(payloads) == 6
    assert max(map(len, payloads)) <= LONGEST_PAYLOAD
    assert sorted(found for payload in payloads for found in ids_in(payload)) == ids


def test_nothing_is_told_of_no_tasks(db: Session, other: Session) -> None:
    ear = Ear(db, "done")
    call(other, calls_worker.notify_done([]))
    other.execute("select horsies.notify_done(null)")
    assert ear.heard() == []
