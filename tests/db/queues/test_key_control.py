"""`key_control`: pauses and resumes a key of a keyed queue."""

from datetime import timedelta
from typing import Any

import pytest

from horsies.db.queries import limits as limit_queries
from tests.support.sessions import NOON, NotificationListener, Session, call, column, freeze_clock, scalar


@pytest.fixture(autouse=True)
def keyed(db: Session) -> None:
    """The queue ``q`` is keyed."""
    freeze_clock(db)
    db.execute("insert into horsies.queues (name, turns) values ('q', 'on')")


def control(db: Session, action: str, key: str = "a", *, queue: str = "q", who: str | None = "ada@host") -> str:
    return call(db, limit_queries.key_control(queue, key, action, who=who, reason="overdue"))


def holds(db: Session) -> list[tuple[Any, ...]]:
    return db.execute("select key, kind, until = 'infinity', who, reason, set_at from horsies.holds").fetchall()


def limited(db: Session, key: str, scope: str = "key") -> None:
    """Write the hold of a task whose service refuses work."""
    until = NOON + timedelta(seconds=60)
    db.execute(
        "select horsies.hold('{q}', %s, %s, 'rate_limited', %s, '{task}', '{why}', %s)", ([scope], [key], [until], NOON)
    )


def test_a_pause_is_recorded_with_who_when_and_why(db: Session) -> None:
    assert control(db, "pause") == "changed"
    assert holds(db) == [("a", "paused", True, "ada@host", "overdue", NOON)]
    assert scalar(db, "select has_holds from horsies.queues where name = 'q'")
    assert control(db, "pause", who="bob") == "unchanged"
    assert holds(db)[0][3] == "ada@host"


def test_a_resume_ends_it_and_wakes_workers(db: Session, other: Session) -> None:
    control(db, "pause")
    control(db, "pause", "b")
    woken = NotificationListener(other, "wake")
    assert control(db, "resume") == "changed"
    assert woken.heard()
    assert column(db, "select key from horsies.holds") == ["b"]
    assert control(db, "resume") == "unchanged"
    assert not woken.heard()


def test_a_resume_also_ends_the_hold_of_a_task(db: Session) -> None:
    limited(db, "a")
    limited(db, "", "queue")
    control(db, "pause")
    assert control(db, "resume") == "changed"
    assert column(db, "select scope from horsies.holds") == ["queue"]


def test_a_pause_outlasts_the_hold_of_a_task(db: Session) -> None:
    control(db, "pause")
    limited(db, "a")
    assert sorted(column(db, "select kind from horsies.holds")) == ["paused", "rate_limited"]


@pytest.mark.parametrize("key", ["", "tenant 7", "ключ", "x" * 200])
def test_any_key_can_be_paused(db: Session, key: str) -> None:
    assert control(db, "pause", key) == "changed"
    assert column(db, "select key from horsies.holds") == [key]


def test_a_queue_that_is_not_keyed_is_refused(db: Session) -> None:
    assert control(db, "pause", queue="plain") == "not keyed"
    assert control(db, "resume", queue="plain") == "unchanged"
    assert holds(db) == []


def test_without_a_name_the_user_of_the_session_is_recorded(db: Session) -> None:
    control(db, "pause", who=None)
    assert scalar(db, "select who = session_user from horsies.holds")


def test_resuming_a_queue_ends_the_hold_that_a_task_has_set_for_it(db: Session) -> None:
    limited(db, "", "queue")
    assert scalar(db, "select horsies.queue_control('q', 'resume', null)")
    assert holds(db) == []
    assert not scalar(db, "select horsies.queue_control('q', 'resume', null)")
