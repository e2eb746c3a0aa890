"""`keep_worker_versions`: the versions of workers stay for a week after the workers have stopped."""

from tests.support.factories import DrivenWorker
from tests.support.sessions import Session

KEEP = "select horsies.keep_worker_versions()"


def versions(db: Session) -> list[tuple[object, ...]]:
    return db.execute("select worker_id, library_version, app_version from horsies.worker_versions").fetchall()


def age(db: Session, days: float) -> None:
    db.execute("update horsies.worker_versions set seen_at = seen_at - make_interval(secs => %s)", (days * 86_400,))


def test_a_stopped_worker_is_kept_for_a_week_and_a_live_one_for_as_long_as_it_lives(db: Session) -> None:
    live, stopped = DrivenWorker(db), DrivenWorker(db)
    stopped.stop()
    age(db, 6.9)
    db.execute(KEEP)
    assert {row[0] for row in versions(db)} == {live.id, stopped.id}
    age(db, 0.2)
    db.execute(KEEP)
    assert versions(db) == [(live.id, "0.1.0", None)]
    age(db, 8)
    db.execute(KEEP)
    assert versions(db) == [(live.id, "0.1.0", None)]


def test_workers_of_an_earlier_release_are_added(db: Session) -> None:
    worker = DrivenWorker(db)
    db.execute("update horsies.workers set app_version = '7.1'")
    db.execute("delete from horsies.worker_versions")
    db.execute(KEEP)
    assert versions(db) == [(worker.id, "0.1.0", "7.1")]
