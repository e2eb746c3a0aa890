"""`declared_differences`: where live workers have other declarations than those that `send` uses."""

from dataclasses import replace

from horsies.config.retry import RetryPolicy
from horsies.db.queries.declarations import TaskDeclaration, declared_differences
from tests.support.declared import declaration, declare
from tests.support.factories import DrivenWorker
from tests.support.sessions import Session, call


def worker_with(db: Session, version: str, *tasks: TaskDeclaration) -> DrivenWorker:
    worker = DrivenWorker(db)
    declare(db, *tasks, version=version, worker_id=worker.id)
    return worker


def test_workers_of_one_version_do_not_differ(db: Session) -> None:
    worker_with(db, "1", declaration("a"), declaration("b"))
    worker_with(db, "2", declaration("a"), declaration("b"))
    DrivenWorker(db)  # of an earlier release, which registers nothing
    assert call(db, declared_differences()) == []


def test_an_old_worker_differs_in_everything_that_is_declared(db: Session) -> None:
    old = declaration("mail")
    for _ in range(2):
        worker_with(db, "1", old, declaration("same"))
    retry = RetryPolicy.fixed([1], auto_retry_for=["BOOM"])
    worker_with(
        db,
        "2",
        declaration("same"),
        replace(
            declaration("mail", names=["a", "b", "c"], queue="emails", priority=3, retry=retry, timeout_ms=100),
            defaults="{}",
            uniqueness="{}",
            key_by='"a"',
            secret_paths='[["a"]]',
        ),
    )
    everything = ["parameters", "defaults", "queue", "priority", "retry policy", "time-out", "uniqueness"]
    everything += ["key", "secrets"]
    assert call(db, declared_differences()) == [("mail", "2", "1", 2, everything)]


def test_the_difference_ends_with_the_last_old_worker(db: Session) -> None:
    old = worker_with(db, "1", declaration())
    worker_with(db, "2", declaration(queue="fast"))
    assert call(db, declared_differences()) == [("add", "2", "1", 1, ["queue"])]
    old.stop()
    assert call(db, declared_differences()) == []


def test_a_registration_without_a_worker_counts(db: Session) -> None:
    worker_with(db, "1", declaration(), declaration("removed later"))
    declare(db, declaration(timeout_ms=500), version="2")
    assert call(db, declared_differences()) == [("add", "2", "1", 1, ["time-out"])]
