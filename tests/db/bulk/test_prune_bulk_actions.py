"""`prune_bulk_actions`: deletes old actions on many tasks, and `prune` calls it with the retention period."""

from horsies.db.queries import worker as worker_queries
from tests.support.bulk import control, preview
from tests.support.factories import send
from tests.support.sessions import Session, call, column, freeze_clock, move_clock

DAY_S = 86_400


def test_they_are_kept_as_long_as_history_and_running_ones_until_they_end(db: Session) -> None:
    freeze_clock(db)
    send(db)
    stopped, running = preview(db), preview(db)
    for each in (stopped, running):
        control(db, each, "start")
    control(db, stopped, "stop")
    db.execute("delete from horsies.audit")
    move_clock(db, 2 * DAY_S)
    while call(db, worker_queries.prune(72)):
        assert len(column(db, "select id from horsies.bulk_actions")) == 2
    assert call(db, worker_queries.prune(24)) == 1
    assert column(db, "select id from horsies.bulk_actions") == [running]


def test_a_step_deletes_no_more_than_it_may(db: Session) -> None:
    freeze_clock(db)
    for _ in range(3):
        preview(db)
    counts = [column(db, "select horsies.prune_bulk_actions(horsies.now() + interval '1 second', 2)") for _ in "abc"]
    assert counts == [[2], [1], [0]]


def test_a_locked_row_is_left_for_later(db: Session, other: Session) -> None:
    locked, free = preview(db), preview(db)
    with other.transaction():
        other.execute("select from horsies.bulk_actions where id = %s for update", (locked,))
        assert column(db, "select horsies.prune_bulk_actions('infinity', 10)") == [1]
    assert column(db, "select id from horsies.bulk_actions") == [locked]
    assert free != locked
