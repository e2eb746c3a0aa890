"""`queue_control`: pauses, resumes or caps a queue for all workers, and wakes the workers that this concerns."""

import pytest

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import (
    InBackground,
    NewSession,
    NotificationListener,
    Session,
    call,
    scalar,
    wait_until_blocked,
)


def control(db: Session, action: str, cap: int | None = None, *, name: str = "a") -> bool:
    return call(db, monitoring_queries.queue_control(name, action, cap))


def said(db: Session) -> list[tuple[object, ...]]:
    return db.execute("select name, paused, max_concurrency from horsies.queues order by name").fetchall()


def test_a_pause_holds_until_it_is_resumed_and_each_is_said_once(db: Session, other: Session) -> None:
    send(db, request(queue="a"))
    worker = DrivenWorker(db, queues=["a"])
    listener = NotificationListener(other, "wake")
    assert [control(db, "pause"), control(db, "pause")] == [True, False]
    assert len(listener.heard()) == 1
    assert worker.claim() == []
    assert [control(db, "resume"), control(db, "resume")] == [True, False]
    assert len(listener.heard()) == 1
    assert len(worker.claim()) == 1
    assert said(db) == []


def test_a_cap_stands_in_place_of_the_declared_one_until_it_is_taken_back(db: Session, other: Session) -> None:
    for _ in range(4):
        send(db, request(queue="a"))
    worker = DrivenWorker(db, caps={"a": 1})
    listener = NotificationListener(other, "wake")
    assert control(db, "cap", 3)
    assert len(listener.heard()) == 1
    assert len(worker.claim(9)) == 3
    assert control(db, "cap", None)
    assert said(db) == []
    assert worker.claim(9) == []
    assert not control(db, "cap", None)


def test_pause_and_cap_do_not_touch_each_other(db: Session) -> None:
    control(db, "cap", 0)
    control(db, "pause")
    assert said(db) == [("a", True, 0)]
    control(db, "cap", None)
    assert said(db) == [("a", True, None)]
    control(db, "cap", 4)
    control(db, "resume")
    assert said(db) == [("a", False, 4)]


def test_other_queues_are_left_alone(db: Session) -> None:
    control(db, "pause", name="b")
    control(db, "pause")
    control(db, "resume", name="b")
    assert said(db) == [("a", True, None)]


@pytest.mark.parametrize("action", ["pause", "cap"])
def test_two_at_once_both_take_effect(
    db: Session, new_session: NewSession, in_background: InBackground, action: str
) -> None:
    second, observer = new_session(), new_session()
    with db.transaction():
        assert control(db, "cap", 5)
        other = in_background(lambda: control(second, action, 7))
        wait_until_blocked(observer, second)
    assert other.result()
    assert said(db) == [("a", True, 5) if action == "pause" else ("a", False, 7)]
    assert scalar(db, "select count(*) from horsies.queues") == 1


def test_a_queue_keeps_what_its_app_declares_when_its_pause_ends(db: Session) -> None:
    db.execute("insert into horsies.queues (name, turns) values ('declared', 'on'), ('held', 'off'), ('rated', 'off')")
    db.execute("update horsies.queues set has_holds = true where name = 'held'")
    db.execute("""update horsies.queues set rate_limit = '{"limit": 1, "per_seconds": 1, "burst": 1}'
                  where name = 'rated'""")
    for name in ("declared", "held", "rated", "plain"):
        db.execute("select horsies.queue_control(%s, 'pause', null)", (name,))
        db.execute("select horsies.queue_control(%s, 'resume', null)", (name,))
    assert [row[0] for row in said(db)] == ["declared", "held", "rated"]
