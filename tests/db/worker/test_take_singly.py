"""`take_singly`: takes the same tasks as `take`, and ends the rows at which that fails."""

from tests.db.worker.test_take import take
from tests.support.factories import numbered_id, request, send
from tests.support.sessions import Session, column, row


def test_it_takes_what_take_takes(db: Session) -> None:
    ids = [send(db, request(numbered_id(number))) for number in (3, 1, 2)]
    assert take(db, ids, 2, function="take_singly") == [(ids[0], False), (ids[1], False)]


def test_a_row_that_fails_ends_and_does_not_count(db: Session) -> None:
    ids = [send(db, request(numbered_id(number))) for number in range(4)]
    db.execute("alter table horsies.tasks drop constraint attempt_has_a_successor")
    db.execute("update horsies.tasks set attempt = 2147483647 where id = any (%s)", (ids[:2],))
    assert take(db, ids, 1, function="take_singly") == [(ids[2], False)]
    assert sorted(column(db, "select id from horsies.history")) == sorted(ids[:2])
    assert row(db, "tasks", ids[3])["status"] == "PENDING"
