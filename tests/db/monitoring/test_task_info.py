"""`task_info`: everything that is known about one task."""

from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import TaskInfoRow
from tests.support.factories import (
    CHILD_NAME,
    CHILD_PID,
    HOSTNAME,
    PID,
    DrivenWorker,
    done,
    expire,
    failed,
    reap,
    request,
    send,
)
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, row

POLICY = RetryPolicy.fixed([60, 60], jitter=False, auto_retry_for=["BOOM"])
SECOND = timedelta(seconds=1)


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    freeze_clock(db)
    return DrivenWorker(db)


def info(db: Session, task_id: UUID) -> TaskInfoRow:
    found = call(db, task_queries.task_info(task_id))
    assert found
    return found


@pytest.mark.usefixtures("worker")
def test_a_waiting_task(db: Session) -> None:
    deadline = NOON + 3600 * SECOND
    task_id = send(db, request(priority=7, delay=5, good_until=deadline))
    assert info(db, task_id) == TaskInfoRow(
        id=task_id,
        task_name="add",
        status="PENDING",
        queue="default",
        priority=7,
        attempt=0,
        max_retries=0,
        waits_for_retry=False,
        sent_at=NOON,
        run_at=NOON + 5 * SECOND,
        claimed_at=None,
        started_at=None,
        finished_at=None,
        good_until=deadline,
        worker_hostname=None,
        worker_pid=None,
        worker_process_name=None,
        error_code=None,
        progress=None,
        rerun_of=None,
        reruns=[],
        args=None,
        result=None,
        postponed=None,
        task_key=None,
    )


def test_a_running_task_names_its_worker(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    move_clock(db, 1)
    worker.claim_one()
    found = info(db, task_id)
    assert (found.status, found.attempt, found.max_retries, found.waits_for_retry) == ("RUNNING", 1, 2, False)
    assert found.claimed_at == found.started_at == NOON + SECOND
    assert (found.worker_hostname, found.worker_pid, found.worker_process_name) == (HOSTNAME, PID, "host-1/worker")


def test_a_running_task_whose_worker_left_is_found_without_it(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    worker.claim_one()
    worker.stop()
    assert (info(db, task_id).status, info(db, task_id).worker_pid) == ("RUNNING", None)


def test_a_task_that_waits_for_its_retry_says_when(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    worker.finish(failed(worker.claim_one()))
    found = info(db, task_id)
    assert (found.status, found.attempt, found.waits_for_retry) == ("PENDING", 1, True)
    assert found.run_at == NOON + 60 * SECOND
    assert found.started_at is found.error_code is found.result is None


def test_an_ended_task_names_the_child_that_ran_it(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    fence = worker.claim_one()
    move_clock(db, 2)
    worker.finish(done(fence, b"[1]"))
    found = info(db, task_id)
    assert (found.status, found.error_code, found.result, found.attempt) == ("COMPLETED", None, b"[1]", 1)
    assert (found.max_retries, found.waits_for_retry) == (2, False)
    assert (found.started_at, found.finished_at) == (NOON, NOON + 2 * SECOND)
    assert (found.worker_hostname, found.worker_pid, found.worker_process_name) == (HOSTNAME, CHILD_PID, CHILD_NAME)


def test_a_failed_and_an_expired_task_have_their_code(db: Session, worker: DrivenWorker) -> None:
    failing = send(db)
    worker.finish(failed(worker.claim_one()))
    expiring = send(db, request(good_until=NOON))
    expire(db)
    assert (info(db, failing).status, info(db, failing).error_code) == ("FAILED", "BOOM")
    assert (info(db, expiring).status, info(db, expiring).error_code) == ("EXPIRED", "TASK_EXPIRED")


def test_a_task_whose_worker_died_names_that_worker(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    worker.claim_one()
    reap(db, proven_dead=worker.id)
    found = info(db, task_id)
    assert (found.error_code, found.worker_hostname, found.worker_pid) == ("WORKER_CRASHED", HOSTNAME, PID)
    assert found.worker_process_name == "host-1/worker"


def test_progress_comes_along(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    fence = worker.claim_one()
    db.execute("update horsies.tasks set progress = '{\"done\": 1}'")
    assert info(db, task_id).progress == b'{"done": 1}'
    worker.finish(done(fence))
    assert info(db, task_id).progress == row(db, "history", task_id)["progress"] == b'{"done": 1}'


def test_there_is_no_such_task(db: Session) -> None:
    assert call(db, task_queries.task_info(uuid7())) is None


def test_the_arguments_if_they_are_asked_for(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(args=b'{"a": [1, 2.50], "b": "\\u001b"}'))
    asked = task_queries.task_info(task_id, with_args=True)
    live = call(db, asked)
    assert info(db, task_id).args is None
    worker.finish(done(worker.claim_one()))
    ended = call(db, asked)
    assert live is not None
    assert ended is not None
    assert live.args == ended.args == b'{"a": [1, 2.50], "b": "\\u001b"}'
    assert info(db, task_id).args is None


def test_reruns_are_named_both_ways(db: Session, worker: DrivenWorker) -> None:
    origin, first, second = send(db), uuid7(), uuid7()
    assert info(db, origin).reruns == []
    worker.finish(failed(worker.claim_one()))
    for new_id in (first, second):
        call(db, task_queries.rerun(origin, new_id))
    assert info(db, origin).reruns == [first, second]
    assert [info(db, new_id).rerun_of for new_id in (first, second)] == [origin, origin]
    for fence in worker.claim(2):
        worker.finish(done(fence))
    assert (info(db, origin).reruns, info(db, first).reruns) == ([first, second], [])
    assert info(db, second).rerun_of == origin
