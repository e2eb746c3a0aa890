"""`worker_start`: registers a worker."""

from datetime import timedelta

import pytest
from psycopg import errors

from horsies.db.queries import worker as worker_queries
from tests.support.factories import HOSTNAME, PID, DrivenWorker
from tests.support.sessions import NOON, Session, call, freeze_clock, row


def test_its_row_says_who_it_is_and_that_it_lives(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db, queues=["a", "b"], names=["add", "mul"], stale_after_s=1.5)
    known = row(db, "workers", worker.id)
    assert (known["hostname"], known["pid"], known["process_name"]) == (HOSTNAME, PID, "host-1/worker")
    assert (known["boot_id"], known["pid_namespace"], known["process_start"]) == ("boot-1", "4026531836", "123456")
    assert (known["library_version"], known["processes"], known["concurrency"]) == ("0.1.0", 2, 1)
    assert (known["queues"], known["task_names"]) == (["a", "b"], ["add", "mul"])
    assert (known["caps"], known["cluster_cap"]) == (None, None)
    assert known["stale_after"] == timedelta(seconds=1.5)
    assert known["started_at"] == known["heartbeat_at"] == NOON


def test_it_declares_its_caps(db: Session) -> None:
    known = row(db, "workers", DrivenWorker(db, caps={"a": 5, "b": None, "c": 0}, cluster_cap=7).id)
    assert (known["queues"], known["caps"], known["cluster_cap"]) == (["a", "b", "c"], [5, None, 0], 7)


def test_an_id_is_a_worker_s_own(db: Session) -> None:
    worker = DrivenWorker(db)
    with pytest.raises(errors.UniqueViolation):
        call(db, worker_queries.worker_start(worker.id, worker.facts(300)))
