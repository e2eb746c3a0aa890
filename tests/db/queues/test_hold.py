"""`hold`: holds of queues and keys, which are only ever lengthened."""

from datetime import datetime, timedelta

import pytest

from tests.support.sessions import NOON, Session, scalar

type Wanted = tuple[str, str, str, datetime, str]
"""Queue, scope, key, until, and who."""


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def hold(db: Session, *wanted: Wanted, kind: str = "rate_limited", clock: datetime = NOON) -> None:
    queues, scopes, keys, ends, who = (list(part) for part in zip(*wanted, strict=True))
    db.execute(
        "select horsies.hold(%s, %s, %s, %s, %s, %s, %s, %s)",
        (queues, scopes, keys, kind, ends, who, ["because"] * len(wanted), clock),
    )


def holds(db: Session) -> list[tuple[object, ...]]:
    return db.execute("select queue, scope, key, kind, until, who from horsies.holds order by 1, 2, 3, 4").fetchall()


def test_the_queue_knows_that_it_has_holds(db: Session) -> None:
    db.execute("insert into horsies.queues (name, turns) values ('a', 'on')")
    hold(db, ("b", "queue", "", after(1), "me"), ("a", "key", "k", after(2), "me"))
    assert holds(db) == [
        ("a", "key", "k", "rate_limited", after(2), "me"),
        ("b", "queue", "", "rate_limited", after(1), "me"),
    ]
    rows = db.execute("select name, has_holds, turns from horsies.queues order by name").fetchall()
    assert rows == [("a", True, "on"), ("b", True, "off")]


@pytest.mark.parametrize("ends", [(1, 5), (5, 1), (5, 5)])
def test_one_call_keeps_the_longest_of_each_key(db: Session, ends: tuple[float, float]) -> None:
    hold(db, *(("a", "key", "k", after(end), f"for {end}") for end in ends))
    assert holds(db) == [("a", "key", "k", "rate_limited", after(5), "for 5")]


def test_a_shorter_hold_changes_nothing_and_a_longer_one_names_its_author(db: Session) -> None:
    hold(db, ("a", "key", "k", after(5), "first"))
    hold(db, ("a", "key", "k", after(2), "second"), clock=after(1))
    assert holds(db) == [("a", "key", "k", "rate_limited", after(5), "first")]
    assert scalar(db, "select set_at from horsies.holds") == NOON
    hold(db, ("a", "key", "k", after(9), "third"), clock=after(1))
    assert holds(db) == [("a", "key", "k", "rate_limited", after(9), "third")]
    assert scalar(db, "select set_at from horsies.holds") == after(1)


def test_a_pause_and_a_remote_limit_of_a_key_are_two_holds(db: Session) -> None:
    hold(db, ("a", "key", "k", after(5), "task"))
    hold(db, ("a", "key", "k", after(1), "ada"), kind="paused")
    assert [row[3] for row in holds(db)] == ["paused", "rate_limited"]


def test_the_lock_of_each_queue_is_taken(db: Session, other: Session) -> None:
    """A claim holds this lock while it reads holds and starts tasks."""
    with db.transaction():
        hold(db, ("b", "queue", "", after(1), "me"), ("a", "key", "k", after(2), "me"))
        names = other.execute("select name from horsies.locks order by name for update skip locked").fetchall()
        assert not {"queue a", "queue b"} & {name for (name,) in names}
    names = other.execute("select name from horsies.locks order by name for update skip locked").fetchall()
    assert {"queue a", "queue b"} <= {name for (name,) in names}
