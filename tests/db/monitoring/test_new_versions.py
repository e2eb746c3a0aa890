"""`new_versions`: the versions of the app that appeared in a time."""

from datetime import datetime, timedelta

from horsies.db.queries import monitoring as monitoring_queries
from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

_OTHERS = """
    insert into horsies.worker_versions (worker_id, library_version, app_version, seen_at, first_seen)
    select md5(n::text)::uuid, '1', 'old ' || n % 10, horsies.server_time(), horsies.server_time() - interval '1 day'
    from generate_series(1, 5000) as n
"""


def start(db: Session, version: str) -> DrivenWorker:
    """Start a worker of a version of the app."""
    worker = DrivenWorker(db)
    for table in ("workers set app_version = %s where id", "worker_versions set app_version = %s where worker_id"):
        db.execute(f"update horsies.{table} = %s".encode(), (version, worker.id))
    return worker


def found(db: Session, since: datetime = NOON, limit: int = 10) -> list[tuple[str, datetime]]:
    return [tuple(row) for row in call(db, monitoring_queries.new_versions(since, limit))]


def test_a_version_appears_with_its_first_worker(db: Session) -> None:
    freeze_clock(db, NOON - timedelta(hours=1))
    start(db, "v1").stop()
    move_clock(db, 3600)
    start(db, "v1")
    assert found(db) == [], "another worker of this version was started before"
    move_clock(db, 60)
    start(db, "v2")
    move_clock(db, 60)
    start(db, "v2")
    start(db, "v3")
    assert found(db) == [("v3", NOON + timedelta(minutes=2)), ("v2", NOON + timedelta(minutes=1))]
    assert found(db, limit=1) == [("v3", NOON + timedelta(minutes=2))]
    assert [version for version, _ in found(db, NOON - timedelta(hours=1))] == ["v3", "v2", "v1"]


def test_workers_that_have_not_registered_and_those_of_an_earlier_release_are_left_out(db: Session) -> None:
    freeze_clock(db)
    DrivenWorker(db)
    start(db, "v1")
    db.execute("update horsies.worker_versions set first_seen = '-infinity' where app_version = 'v1'")
    assert found(db) == []


def test_other_versions_are_not_read(db: Session) -> None:
    freeze_clock(db)
    db.execute(_OTHERS)
    start(db, "v2")
    with reading(db) as reads:
        assert [version for version, _ in found(db)] == ["v2"]
    assert not reads.whole_tables & {"worker_versions"}
    assert reads.rows < 100
