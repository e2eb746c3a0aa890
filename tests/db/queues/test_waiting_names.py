"""`waiting_names`: the names of waiting tasks by queue, and whether a worker can run them."""

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, ended_task, request, send, send_many
from tests.support.sessions import Session, call


def test_pairs_of_name_and_queue_with_counts(db: Session) -> None:
    assert call(db, monitoring_queries.waiting_names(10)) == []
    for name, queue, count in (("b", "two", 1), ("a", "two", 3), ("a", "one", 2)):
        for _ in range(count):
            send(db, request(name=name, queue=queue))
    send(db, request(name="later", delay=3600))
    DrivenWorker(db, queues=["one"], names=["a", "b"])
    assert call(db, monitoring_queries.waiting_names(10)) == [
        ("a", "one", 2, True),
        ("a", "two", 3, False),
        ("b", "two", 1, False),
        ("later", "default", 1, False),
    ]
    assert [each.waiting for each in call(db, monitoring_queries.waiting_names(2))] == [2, 2, 1, 1]


def test_what_runs_or_has_ended_does_not_wait(db: Session) -> None:
    ended_task(db)
    send(db)
    DrivenWorker(db).claim_one()
    assert call(db, monitoring_queries.waiting_names(10)) == []


def test_a_long_queue_costs_a_few_probes(db: Session) -> None:
    send_many(db, 5000)
    with db.transaction(force_rollback=True):
        before = _rows_read(db)
        assert call(db, monitoring_queries.waiting_names(100)) == [("add", "default", 100, False)]
        assert _rows_read(db) - before < 300


def _rows_read(db: Session) -> int:
    row = db.execute(
        "select sum(pg_stat_get_xact_tuples_returned(c.oid)) from pg_class c"
        " where c.relnamespace = 'horsies'::regnamespace and c.relname like 'tasks%'"
    ).fetchone()
    assert row is not None
    return int(row[0])
