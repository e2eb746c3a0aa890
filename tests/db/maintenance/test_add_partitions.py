"""`add_partitions`: history has a partition for each of the coming days."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import errors

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, done, ended_task, send
from tests.support.sessions import (
    InBackground,
    NewSession,
    Session,
    call,
    column,
    freeze_clock,
    is_blocked,
    move_clock,
    row,
    scalar,
)
from tests.support.waiting import wait_until

DAY_S = 24 * 3600
PARTITION_DAYS = 14
TODAY = "history_20310506"
_BOUNDS = "select pg_get_expr(relpartbound, oid) from pg_class where oid = ('horsies.' || %s)::regclass"
_WHERE = "select tableoid::regclass::text from horsies.history where id = %s"


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)


def add_partitions(db: Session, days: int = 0) -> int:
    return call(db, worker_queries.add_partitions(days))


def partitions(db: Session) -> list[str]:
    return column(
        db, "select inhrelid::regclass::text from pg_inherits where inhparent = 'horsies.history'::regclass order by 1"
    )


def test_a_migrated_database_has_those_of_two_weeks(db: Session) -> None:
    made_on = scalar(db, "select migrated_at from horsies.schema_version").astimezone(UTC)
    days = [f"horsies.history_{made_on + timedelta(days=day):%Y%m%d}" for day in range(PARTITION_DAYS + 1)]
    assert partitions(db) == [*days, "horsies.history_default"]


def test_each_day_from_today_on_gets_one(db: Session) -> None:
    before = set(partitions(db))
    assert add_partitions(db, 3) == 4
    names = [f"horsies.history_2031050{day}" for day in (6, 7, 8, 9)]
    assert sorted(set(partitions(db)) - before) == names


def test_days_that_have_one_are_left_alone(db: Session) -> None:
    assert [add_partitions(db, 3), add_partitions(db, 3)] == [4, 0]
    move_clock(db, DAY_S)
    assert [add_partitions(db, 3), add_partitions(db, 3)] == [1, 0]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_day_is_one_of_utc_whatever_the_zone_of_the_session(db: Session, zone: str) -> None:
    db.execute(f"set timezone = '{zone}'".encode())
    freeze_clock(db, datetime(2031, 5, 6, 23, 59, tzinfo=UTC))
    add_partitions(db)
    db.execute("set timezone = 'UTC'")
    bounds = scalar(db, _BOUNDS, TODAY)
    assert bounds == "FOR VALUES FROM ('2031-05-06 00:00:00+00') TO ('2031-05-07 00:00:00+00')"


def test_ended_tasks_go_to_the_partition_of_their_day(db: Session) -> None:
    add_partitions(db, 1)
    first = ended_task(db)
    move_clock(db, DAY_S / 2 - 0.001)
    last_of_the_day = ended_task(db)
    move_clock(db, 0.001)
    next_day = ended_task(db)
    places = [scalar(db, _WHERE, task_id) for task_id in (first, last_of_the_day, next_day)]
    assert places == [f"horsies.{TODAY}"] * 2 + ["horsies.history_20310507"]


def test_a_day_without_one_is_caught_by_the_default_and_drained_from_it(db: Session) -> None:
    today = ended_task(db)
    before = row(db, "history", today)
    move_clock(db, DAY_S)
    tomorrow = ended_task(db)
    assert {scalar(db, _WHERE, task_id) for task_id in (today, tomorrow)} == {"horsies.history_default"}
    move_clock(db, -DAY_S)
    add_partitions(db)
    assert scalar(db, _WHERE, today) == f"horsies.{TODAY}"
    assert scalar(db, _WHERE, tomorrow) == "horsies.history_default"
    assert row(db, "history", today) == before


def test_a_partition_has_the_keys_and_checks_of_history(db: Session) -> None:
    add_partitions(db)
    ended = ended_task(db)
    with pytest.raises(errors.UniqueViolation):
        db.execute(f"insert into horsies.{TODAY} select * from horsies.{TODAY}".encode())
    with pytest.raises(errors.CheckViolation) as caught:
        db.execute("update horsies.history set status = 'PENDING', error_code = 'X' where id = %s", (ended,))
    assert caught.value.diag.constraint_name == "status_is_terminal"


def test_while_an_outcome_is_being_written_it_gives_up_unharmed(db: Session, other: Session) -> None:
    send(other)
    worker = DrivenWorker(other)
    fence = worker.claim_one()
    before = partitions(db)
    with other.transaction():
        worker.finish(done(fence))
        with pytest.raises(errors.LockNotAvailable):
            add_partitions(db, 2)
    assert partitions(db) == before
    assert add_partitions(db, 2) == 3
    assert scalar(db, _WHERE, fence.task_id) == f"horsies.{TODAY}"


def test_an_outcome_that_commits_while_the_default_is_drained_is_drained_too(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    finishing = new_session()
    worker = DrivenWorker(finishing)
    made: int | None = None
    ended: list[object] = []
    while made is None:  # the call may give up before the test sees it wait
        send(finishing)
        fence = worker.claim_one()
        with finishing.transaction():
            worker.finish(done(fence))
            adding = in_background(lambda: add_partitions(db))
            wait_until(lambda adding=adding: is_blocked(finishing, db) or adding.done())
        ended.append(fence.task_id)
        try:
            made = adding.result()
        except errors.LockNotAvailable:
            continue
    assert made == 1
    assert {scalar(db, _WHERE, task_id) for task_id in ended} == {f"horsies.{TODAY}"}


def test_a_task_that_ends_while_its_day_gets_its_partition_ends_there(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    finishing, observing = new_session(), new_session()
    send(finishing)
    worker = DrivenWorker(finishing)
    fence = worker.claim_one()
    with db.transaction():
        add_partitions(db)
        verdict = in_background(lambda: worker.finish(done(fence)))
        wait_until(lambda: is_blocked(observing, finishing) or verdict.done())
    assert verdict.result() == ["accepted"]
    assert row(db, "history", fence.task_id)["status"] == "COMPLETED"
    assert scalar(db, _WHERE, fence.task_id) == f"horsies.{TODAY}"


FOR_EVER = 91 * 24


def add_monthly(db: Session, days: int, keep_hours: float | None = FOR_EVER) -> int:
    return call(db, worker_queries.add_partitions(days, keep_hours))


def days_covered(db: Session) -> list[str]:
    """The bounds of all partitions from the frozen day on, in order."""
    db.execute("set timezone = 'UTC'")
    rows = db.execute("""
        select relname, pg_get_expr(relpartbound, oid) from pg_class
        where relispartition and relkind = 'r' and relname like 'history%' and relname between 'history_2031' and 'history_2032'
        order by 2
    """)
    found = [(name, *re.findall(r"'2031-(\d\d)-(\d\d) 00:00:00\+00'", bounds)) for name, bounds in rows]
    return [f"{name} {''.join(first)}-{''.join(end)}" for name, first, end in found]


@pytest.mark.parametrize("keep_hours", [FOR_EVER, None])
def test_history_that_is_kept_for_more_than_90_days_has_a_partition_for_each_month(
    db: Session, keep_hours: float | None
) -> None:
    assert add_monthly(db, 40, keep_hours) == 2
    assert days_covered(db) == ["history_203105 0506-0601", "history_203106 0601-0701"]
    assert add_monthly(db, 40, keep_hours) == 0
    worker = DrivenWorker(db)
    send(db)
    fence = worker.claim_one()
    move_clock(db, 20 * DAY_S)
    worker.finish(done(fence))
    assert scalar(db, _WHERE, fence.task_id) == "horsies.history_203105"


def test_history_that_is_kept_for_90_days_has_one_for_each_day(db: Session) -> None:
    assert add_monthly(db, 2, 90 * 24) == 3
    assert days_covered(db)[0] == "history_20310506 0506-0507"


def test_existing_partitions_stay_when_the_retention_changes(db: Session) -> None:
    add_partitions(db, 2)
    assert add_monthly(db, 30) == 2
    assert days_covered(db) == [
        "history_20310506 0506-0507",
        "history_20310507 0507-0508",
        "history_20310508 0508-0509",
        "history_203105 0509-0601",
        "history_203106 0601-0701",
    ]
    assert add_partitions(db, 30) == 0
    move_clock(db, 56 * DAY_S)
    assert add_partitions(db, 1) == 2
    assert days_covered(db)[-2:] == ["history_20310701 0701-0702", "history_20310702 0702-0703"]


def test_a_month_in_which_a_later_day_has_a_partition_gets_partitions_for_its_days(db: Session) -> None:
    move_clock(db, 3 * DAY_S)
    add_partitions(db, 0)
    move_clock(db, -3 * DAY_S)
    assert add_monthly(db, 5) == 4
    assert days_covered(db) == [
        "history_20310506 0506-0507",
        "history_20310507 0507-0508",
        "history_20310508 0508-0509",
        "history_20310509 0509-0510",
        "history_203105 0510-0601",
    ]
