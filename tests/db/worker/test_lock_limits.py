"""`lock_limits`: locks the limits of queues, and waits for others only if it may."""

from tests.support.factories import DrivenWorker
from tests.support.sessions import InBackground, NewSession, Session, column, scalar, wait_until_blocked


def lock(db: Session, names: list[str], *, may_wait: bool = True) -> list[str]:
    return scalar(db, "select horsies.lock_limits(%s::text[], %s)", names, may_wait)


def test_missing_rows_are_created_and_locked_in_the_order_of_their_names(db: Session) -> None:
    assert lock(db, ["queue b", "cluster", "queue a"]) == ["cluster", "queue a", "queue b"]
    assert lock(db, []) == []


def test_locks_of_others_are_left_out_if_it_may_not_wait(db: Session, other: Session) -> None:
    lock(db, ["queue a", "queue b"])
    with other.transaction():
        assert lock(other, ["queue a"]) == ["queue a"]
        assert lock(db, ["queue a", "queue b"], may_wait=False) == ["queue b"]


def test_locks_of_others_are_waited_for_if_it_may(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    other, observer = new_session(), new_session()
    lock(db, ["queue a"])
    with db.transaction():
        lock(db, ["queue a"])
        waiting = in_background(lambda: lock(other, ["queue a"]))
        wait_until_blocked(observer, other)
    assert waiting.result() == ["queue a"]


def test_workers_create_the_rows_of_their_limits(db: Session) -> None:
    DrivenWorker(db, caps={"a": 5, "b": None})
    assert column(db, "select name from horsies.locks order by name") == ["cluster", "maintenance", "queue a"]
