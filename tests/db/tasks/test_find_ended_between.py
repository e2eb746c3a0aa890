"""`find_ended_between`: finds a history row between two times, and keeps no locks if there is none."""

from uuid import UUID

from tests.support.factories import ended_task
from tests.support.sessions import NOON, Session, freeze_clock, scalar

DAY = 86_400
TODAY = int(NOON.timestamp()) // DAY * DAY


def find_between(db: Session, task_id: UUID, since: int | None, until: int | None) -> UUID | None:
    return scalar(db, "select (horsies.find_ended_between(%s, %s::bigint, %s::bigint)).id", task_id, since, until)


def test_only_rows_between_the_times_are_found(db: Session) -> None:
    freeze_clock(db)
    ended = ended_task(db)
    for since in (None, TODAY - DAY, TODAY):
        for until in (None, TODAY + DAY, TODAY + 2 * DAY):
            assert find_between(db, ended, since, until) == ended
    assert find_between(db, ended, None, TODAY) is None
    assert find_between(db, ended, TODAY + DAY, None) is None


def test_no_locks_of_partitions_remain_if_there_is_none(db: Session) -> None:
    ended = ended_task(db)
    locks = "select count(*) from pg_locks where pid = pg_backend_pid() and relation::regclass::text like '%%history%%'"
    with db.transaction():
        assert find_between(db, ended, 0, DAY) is None
        assert find_between(db, UUID(int=1), None, None) is None
        assert scalar(db, locks) == 0
