"""`find_ended_among`: finds the history rows of many tasks, in the partitions of all days."""

from datetime import timedelta
from uuid import uuid4

from tests.support.factories import NUMBERED_AT, ended_task, numbered_id, request
from tests.support.sessions import Session, column, freeze_clock, scalar

FOUND = "select id from horsies.find_ended_among(%s)"


def test_tasks_that_ended_on_many_days_are_found(db: Session) -> None:
    ids = [numbered_id(number) for number in range(7)]
    for task_id, days in zip(ids, (0, 1, 15, 16, 33, 400, -400), strict=True):
        freeze_clock(db, NUMBERED_AT + timedelta(days=days))
        ended_task(db, request(task_id))
    assert sorted(column(db, FOUND, [*ids, uuid4()])) == ids
    assert column(db, "select fingerprint from horsies.find_ended_among(%s)", ids[:1]) == [request().fingerprint]


def test_no_locks_of_partitions_without_the_rows_remain(db: Session) -> None:
    ended_task(db)
    locks = "select count(*) from pg_locks where pid = pg_backend_pid() and relation::regclass::text like '%%history%%'"
    with db.transaction():
        assert column(db, FOUND, [uuid4(), uuid4()]) == []
        assert scalar(db, locks) == 0
