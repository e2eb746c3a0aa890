"""`find_ended`: finds the history row of a task, even if the clock of the sender was wrong."""

from datetime import timedelta
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from tests.support.factories import NUMBERED_AT, ended_task, numbered_id, request
from tests.support.sessions import Session, column, freeze_clock, scalar


@pytest.mark.parametrize("took", [timedelta(0), timedelta(days=400), timedelta(hours=-23), timedelta(days=-400)])
def test_an_ended_task_is_found_however_wrong_the_clock_of_its_sender(db: Session, took: timedelta) -> None:
    freeze_clock(db, NUMBERED_AT + took)
    task_id = ended_task(db, request(numbered_id(1)))
    assert column(db, "select id from horsies.find_ended(%s)", task_id) == [task_id]


def test_an_unknown_id_is_not_found(db: Session) -> None:
    ended_task(db)
    assert column(db, "select id from horsies.find_ended(%s)", uuid7()) == []


_LOCKS = "select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'relation'"


@pytest.fixture
def years(db: Session) -> Session:
    """A database with a partition for each of the last 400 days."""
    db.execute("""
        do $$ declare current date := now() at time zone 'UTC'; begin for day in 1 .. 400 loop
            execute format('create table horsies.history_%s partition of horsies.history for values from (%L) to (%L)',
                to_char(current - day, 'YYYYMMDD'), current - day || ' 00:00+00',
                current - day + 1 || ' 00:00+00');
        end loop; end $$""")
    return db


@pytest.mark.parametrize("days_ago", [0, 3, 399])
def test_a_search_keeps_the_locks_of_a_few_partitions_only(years: Session, days_ago: int) -> None:
    ended = ended_task(years)
    years.execute("update horsies.history set finished_at = finished_at - make_interval(days => %s)", (days_ago,))
    with years.transaction():
        assert column(years, "select id from horsies.find_ended(%s)", ended) == [ended]
        assert scalar(years, _LOCKS) < 80
    with years.transaction():
        assert column(years, "select id from horsies.find_ended(%s)", uuid4()) == []
        assert scalar(years, _LOCKS) < 80


def test_a_task_that_ended_later_than_on_its_day_is_found_in_every_gap(db: Session) -> None:
    for took in (1, 2, 14, 15, 16, 17, 33, 1000):
        freeze_clock(db, NUMBERED_AT + timedelta(days=took))
        task_id = ended_task(db, request(numbered_id(took)))
        assert column(db, "select id from horsies.find_ended(%s)", task_id) == [task_id]
