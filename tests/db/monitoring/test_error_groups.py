"""`error_groups`: lists groups of a time by their number of failures, and reads only the counts of that time."""

from datetime import timedelta
from typing import Any

import pytest

from horsies.db.queries import errors as error_queries
from horsies.db.queries.errors import ErrorGroupRow
from tests.support.factories import DrivenWorker, numbered_id
from tests.support.sessions import NOON, Session, call, freeze_clock, scalar

HOUR = timedelta(hours=1)


@pytest.fixture
def counted(db: Session) -> Session:
    """Two groups of each of two tasks; group n has n failures in each of the last 2,000 hours."""
    freeze_clock(db)
    db.execute(
        "insert into horsies.sampling (first_minute, sampled_until, errors_since, errors_until) values (%s, %s, %s, %s)",
        (NOON - 2000 * HOUR, NOON, NOON - 2000 * HOUR, NOON),
    )
    db.execute(
        "insert into horsies.error_groups (task_name, digest, error_code, frame, message, is_other, first_seen,"
        " last_seen, example_id) select case when n <= 2 then 'add' else 'send' end, int4send(n),"
        " case when n %% 2 = 0 then 'EVEN' else 'ODD' end, 'f', 'm', false, %s, %s, %s from generate_series(1, 4) n",
        (NOON - 2000 * HOUR, NOON, numbered_id(1)),
    )
    db.execute(
        "insert into horsies.error_counts select 3600, %s::timestamptz - h * interval '1 hour', g.id, '1', v, g.id"
        " from generate_series(1, 2000) as h, horsies.error_groups g, unnest(array['a', 'b']) as v", (NOON,)
    )  # fmt: skip
    return db


def ask(db: Session, hours: int = 1, name: str | None = None, code: str | None = None, limit: int = 10) -> Any:
    return call(db, error_queries.error_groups(NOON - hours * HOUR, NOON, name, code, limit))


def numbers(rows: list[ErrorGroupRow]) -> dict[int, int]:
    return {row.id: row.number for row in rows}


def test_the_most_frequent_come_first_and_the_hours_are_added(counted: Session) -> None:
    assert numbers(ask(counted, 3)) == {4: 24, 3: 18, 2: 12, 1: 6}
    assert [row.id for row in ask(counted, limit=3)] == [4, 3, 2]
    assert numbers(ask(counted, name="add")) == {2: 4, 1: 2}
    assert numbers(ask(counted, name="send", code="ODD")) == {3: 6}


def test_without_groups_one_row_says_how_much_is_known(counted: Session) -> None:
    [row] = ask(counted, name="nothing")
    assert (row.errors_since, row.errors_until, row.clock, row.id) == (NOON - 2000 * HOUR, NOON, NOON, None)
    counted.execute("update horsies.sampling set errors_since = null")
    assert ask(counted) == []


def test_only_the_counts_of_the_time_are_read(counted: Session) -> None:
    counted.execute("analyze horsies.error_counts")
    reads = "select pg_stat_get_xact_tuples_fetched(c.oid) + pg_stat_get_xact_tuples_returned(c.oid) from pg_class c"
    reads += " where c.oid = 'horsies.error_counts_pkey'::regclass"
    with counted.transaction(force_rollback=True):
        before = scalar(counted, reads)
        assert len(ask(counted, 2)) == 4
        after = scalar(counted, reads)
    assert 0 < after - before < 100


def deploy(db: Session, version: str, *, minutes: int, names: list[str]) -> None:
    """Register a worker with a version of the app, started some minutes after noon."""
    worker = DrivenWorker(db, names=names)
    started = NOON + timedelta(minutes=minutes)
    db.execute(
        "update horsies.workers set app_version = %s, started_at = %s where id = %s", (version, started, worker.id)
    )
    db.execute("update horsies.worker_versions set app_version = %s where worker_id = %s", (version, worker.id))


def appear(db: Session, group: int, *versions: str) -> None:
    """Let a group have failed in the last hour only, with some versions."""
    db.execute("update horsies.error_groups set first_seen = %s where id = %s", (NOON - HOUR / 2, group))
    db.execute("delete from horsies.error_counts where group_id = %s", (group,))
    db.execute("insert into horsies.error_counts select 3600, %s, %s, '1', v, 1 from unnest(%s::text[]) as v",
               (NOON - HOUR, group, list(versions)))  # fmt: skip


def new_in(db: Session) -> dict[int, str | None]:
    return {row.id: row.new_in for row in ask(db, 3)}


def test_a_group_is_new_if_it_has_appeared_with_the_latest_version_of_its_task(counted: Session) -> None:
    deploy(counted, "b", minutes=1, names=["add"])
    appear(counted, 1, "b")
    assert new_in(counted) == {1: None, 2: None, 3: None, 4: None}, "there was no other version"
    deploy(counted, "a", minutes=0, names=["add"])
    assert new_in(counted) == {1: "b", 2: None, 3: None, 4: None}
    deploy(counted, "c", minutes=2, names=["send"])  # another app
    assert new_in(counted)[1] == "b"
    appear(counted, 1, "a", "b")
    assert new_in(counted)[1] is None, "the earlier version has failed so, too"
    appear(counted, 3, "")
    assert new_in(counted)[3] is None, "the version is unknown"
    deploy(counted, "d", minutes=3, names=["add"])
    appear(counted, 2, "b")
    assert new_in(counted)[2] is None, "a later version has been deployed"
