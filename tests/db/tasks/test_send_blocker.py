"""`send_blocker`: for which transaction a send has waited."""

from tests.support.factories import request, send
from tests.support.sessions import NewSession, Session, scalar

TIMED_OUT, DEADLOCK = "55P03", "40P01"


def blocker(db: Session, failure: str = TIMED_OUT, detail: str = "", since: str = "clock_timestamp()") -> str:
    return scalar(db, f"select horsies.send_blocker(%s, %s, {since})", failure, detail)


def test_one_older_transaction_is_named(db: Session, other: Session) -> None:
    with other.transaction():
        send(other)
        assert f"process {other.info.backend_pid} (user " in blocker(db)
        assert ", which began 0 s ago" in blocker(db)


def test_a_younger_transaction_is_not_named(db: Session, other: Session) -> None:
    with other.transaction():
        send(other)
        assert "process" not in blocker(db, since="clock_timestamp() - interval '1 hour'")


def test_of_several_transactions_none_is_named(db: Session, other: Session, new_session: NewSession) -> None:
    third = new_session()
    with other.transaction(), third.transaction():
        send(other)
        send(third)
        assert blocker(db) == "another transaction with the same idempotency key or unique task did not end in time"


def test_a_prepared_transaction_is_named(db: Session, other: Session) -> None:
    if scalar(db, "show max_prepared_transactions") == "0":
        assert "process" not in blocker(db)
        return
    other.execute("begin")
    send(other)
    other.execute("prepare transaction 'half'")
    assert "the prepared transaction 'half'" in blocker(db)
    db.execute("rollback prepared 'half'")


def test_a_deadlock_names_the_process_of_its_detail(db: Session, other: Session, new_session: NewSession) -> None:
    detail = f"Process 1 waits for ShareLock on transaction 2; blocked by process {other.info.backend_pid}."
    third = new_session()
    with other.transaction(), third.transaction():
        send(other)
        send(third, request(name="x"))
        assert f"process {other.info.backend_pid} (user " in blocker(db, DEADLOCK, detail)
    assert blocker(db, DEADLOCK, detail).endswith(f": process {other.info.backend_pid}")
    assert blocker(db, DEADLOCK).startswith("a deadlock with another transaction")
