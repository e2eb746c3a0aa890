"""`plain_heads`: the priorities at which tasks wait in the order of their due times. See `test_turns_beside_dead_rows`."""

from datetime import datetime, timedelta

from tests.support.factories import request, send
from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import NOON, Session, freeze_clock

QUERY = "select horsies.plain_heads('default', horsies.now())"


def test_the_first_task_of_each_priority_is_listed(db: Session) -> None:
    freeze_clock(db)
    assert db.execute(QUERY).fetchone() == ({},)
    for priority, delay in [(20, 5), (20, -3), (40, 9), (60, 0)]:
        send(db, request(priority=priority, delay=delay))
    send(db, request(queue="other", priority=1))
    row = db.execute(QUERY).fetchone()
    assert row is not None
    due = {priority: datetime.fromisoformat(time) - NOON for priority, time in row[0].items()}
    assert due == {"20": timedelta(seconds=-3), "40": timedelta(seconds=9), "60": timedelta()}


def test_tasks_that_wait_for_their_turns_are_not_listed(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db)
    send_keys(db, "a")
    send_keys(db, "a", delay=5, priority=7)
    row = db.execute(QUERY).fetchone()
    assert row is not None
    assert list(row[0]) == ["7"]
