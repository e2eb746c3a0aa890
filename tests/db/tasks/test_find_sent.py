"""`find_sent`: whether a send was accepted before."""

from uuid import UUID

from tests.support.factories import ended_task, request, send, send_once, unique
from tests.support.sessions import Session


def find_sent(db: Session, sent_id: UUID, fingerprint: bytes) -> list[tuple[UUID, str]]:
    return db.execute("select * from horsies.find_sent(%s, %s)", (sent_id, fingerprint)).fetchall()


def test_it_finds_a_live_and_an_ended_task(db: Session) -> None:
    for sent in (send(db, request(fingerprint=b"x")), ended_task(db, request(fingerprint=b"x", name="ended"))):
        assert find_sent(db, sent, b"x") == [(sent, "known")]
        assert find_sent(db, sent, b"y") == [(sent, "mismatch")]


def test_it_finds_the_last_replacement_of_a_task(db: Session) -> None:
    replacing = unique(on_conflict="replace")
    first, second, third = (request(unique=replacing, fingerprint=each) for each in (b"1", b"2", b"3"))
    for each in (first, second, third):
        send_once(db, each)
    assert find_sent(db, third.task_id, b"3") == [(first.task_id, "known")]
    assert find_sent(db, second.task_id, b"2") == []  # nothing of it is left that could run
    assert find_sent(db, first.task_id, b"1") == [(first.task_id, "known")]


def test_nothing_was_sent(db: Session) -> None:
    assert find_sent(db, request().task_id, b"x") == []
