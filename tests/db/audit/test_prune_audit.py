"""`prune_audit`: deletes old records of actions, and `prune` calls it with the retention period."""

from horsies.db.queries import worker as worker_queries
from tests.support.sessions import Session, call, column, freeze_clock, move_clock

DAY = 86_400


def test_records_are_kept_as_long_as_history(db: Session) -> None:
    freeze_clock(db)
    db.execute("select horsies.record_action('ada', 'queue.pause', '{old}', null) from generate_series(1, 3)")
    move_clock(db, 2 * DAY)
    db.execute("select horsies.record_action('ada', 'queue.pause', '{new}', null)")
    while call(db, worker_queries.prune(72)):  # partitions of the time before the clock was set
        assert column(db, "select count(*) from horsies.audit") == [4]
    assert column(db, "select count(*) from horsies.audit") == [4]
    assert call(db, worker_queries.prune(24)) == 3
    assert column(db, "select subjects from horsies.audit") == [["new"]]


def test_a_step_deletes_no_more_than_it_may(db: Session) -> None:
    freeze_clock(db)
    db.execute("select horsies.record_action('ada', 'queue.pause', '{old}', null) from generate_series(1, 3)")
    assert column(db, "select horsies.prune_audit(horsies.now() + interval '1 second', 2)") == [2]
    assert column(db, "select horsies.prune_audit(horsies.now() + interval '1 second', 2)") == [1]
    assert column(db, "select horsies.prune_audit(horsies.now() + interval '1 second', 2)") == [0]
