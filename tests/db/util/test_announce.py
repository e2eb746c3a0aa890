"""`announce`: notifications are sent in a transaction after the one that has recorded them."""

import pytest

from horsies.db.operations import Call
from horsies.db.queries import worker as worker_queries
from tests.support.factories import expire, numbered_id
from tests.support.runs import node, start
from tests.support.sessions import NewSession, NotificationListener, Session, call

IDS = [numbered_id(number) for number in range(3)]


def announce(session: Session) -> None:
    call(session, worker_queries.announce())


def test_what_was_recorded_is_sent_once(db: Session, new_session: NewSession) -> None:
    listeners = {kind: NotificationListener(new_session(), kind) for kind in ("wake", "done", "cancel")}
    db.execute("select horsies.announce_wake(), horsies.announce_ids('done', %s)", (IDS,))
    db.execute("select horsies.announce_wake(), horsies.announce_ids('cancel', %s)", (IDS[:2],))
    assert [listener.heard() for listener in listeners.values()] == [[], [], []]
    announce(db)
    announce(db)
    assert listeners["wake"].heard() == [""]
    assert listeners["done"].heard() == ["".join(each.hex for each in IDS)]
    assert listeners["cancel"].heard() == [each.hex for each in IDS[:2]]


def test_what_was_rolled_back_is_not_sent(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "wake")
    with db.transaction(force_rollback=True):
        db.execute("select horsies.announce_wake()")
    announce(db)
    assert listener.heard() == []


CALLS: dict[str, Call[object]] = {
    "reap": worker_queries.reap(None, 1),
    "expire": worker_queries.expire(1),
    "reconcile": worker_queries.reconcile(numbered_id(1), [], 1),
    "renew": worker_queries.renew(numbered_id(1), [], 1, 1),
    "start": worker_queries.start(numbered_id(1), []),
    "maintenance": worker_queries.maintenance_call(worker_queries.expire(1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_callers_announce_in_a_transaction_of_its_own(name: str) -> None:
    assert CALLS[name].hint == worker_queries.announce()
    assert len(CALLS[name].groups) == 2


def test_a_function_that_writes_sends_nothing_itself(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "done")
    start(db, node(good_until="2001-01-01T00:00:00+00:00"))
    db.execute("select horsies.expire(10)")
    assert listener.heard() == []
    announce(db)
    assert len(listener.heard()) == 1
    assert expire(db) == 0
