"""`finish`: one accepted outcome for each attempt."""

from collections.abc import Callable
from copy import replace
from datetime import timedelta

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries.worker import Fence
from tests.support.factories import (
    CHILD_NAME,
    CHILD_PID,
    HOSTNAME,
    DrivenWorker,
    done,
    ended_task,
    failed,
    reap,
    request,
    send,
)
from tests.support.sessions import NOON, Session, find, freeze_clock, move_clock, row, scalar

AT_ONCE = RetryPolicy.fixed([0.001, 0.001, 0.001], auto_retry_for=["BOOM"])
AFTER_CRASH = RetryPolicy.fixed([0.001], auto_retry_for=["WORKER_CRASHED"])


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    return DrivenWorker(db)


@pytest.fixture
def fence(db: Session, worker: DrivenWorker) -> Fence:
    send(db)
    return worker.claim_one()


def test_a_task_that_succeeded_leaves_for_history_with_all_that_is_known(db: Session) -> None:
    freeze_clock(db)
    deadline = NOON + timedelta(hours=1)
    wanted = request(name="mul", queue="q", priority=3, delay=1, good_until=deadline, retry=AT_ONCE, timeout_ms=900)
    send(db, wanted)
    move_clock(db, 2)
    worker = DrivenWorker(db, queues=["q"], names=["mul"])
    fence = worker.claim_one()
    move_clock(db, 3)
    assert worker.finish(done(fence, b'{"b":2, "a":1}')) == ["accepted"]
    assert not find(db, "tasks", wanted.task_id)
    ended = row(db, "history", wanted.task_id)
    assert (ended["status"], ended["result"], ended["error_code"]) == ("COMPLETED", b'{"b":2, "a":1}', None)
    assert (ended["task_name"], ended["queue"], ended["priority"]) == ("mul", "q", 3)
    assert (ended["args"], ended["fingerprint"]) == (wanted.args, wanted.fingerprint)
    assert (ended["retry_policy"], ended["timeout_ms"], ended["good_until"]) == (AT_ONCE.to_json(), 900, deadline)
    assert (ended["attempt"], ended["worker_id"], ended["exchange_no"]) == (1, worker.id, fence.exchange_no)
    assert (ended["worker_hostname"], ended["worker_pid"]) == (HOSTNAME, CHILD_PID)
    assert ended["worker_process_name"] == CHILD_NAME
    assert (ended["sent_at"], ended["run_at"]) == (NOON, NOON + timedelta(seconds=1))
    assert ended["claimed_at"] == ended["started_at"] == NOON + timedelta(seconds=2)
    assert ended["finished_at"] == NOON + timedelta(seconds=5)


def test_a_task_that_failed_leaves_for_history_with_its_error_and_code(
    db: Session, worker: DrivenWorker, fence: Fence
) -> None:
    outcome = failed(fence, "BOOM")
    assert worker.finish(outcome) == ["accepted"]
    ended = row(db, "history", fence.task_id)
    assert (ended["status"], ended["result"], ended["error_code"]) == ("FAILED", outcome.result, "BOOM")
    assert scalar(db, "select count(*) from horsies.attempts") == 0


def test_history_keeps_every_column_of_a_task(db: Session) -> None:
    not_kept = {"held", "worker_deaths", "lease_until", "holds_unique", "turn_key"}
    columns = "select array_agg(attname::text) from pg_attribute where attrelid = %s::regclass and attnum > 0"
    live = set(scalar(db, columns, "horsies.tasks"))
    assert live - not_kept <= set(scalar(db, columns, "horsies.history"))


def test_an_outcome_that_is_sent_again_is_a_duplicate(db: Session, worker: DrivenWorker, fence: Fence) -> None:
    assert worker.finish(done(fence)) == ["accepted"]
    assert worker.finish(done(fence)) == ["duplicate"]
    assert scalar(db, "select count(*) from horsies.history") == 1


def test_a_failure_that_led_to_a_retry_is_a_duplicate_when_sent_again(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=AT_ONCE))
    fence = worker.claim_one()
    assert worker.finish(failed(fence)) == ["accepted"]
    assert worker.finish(failed(fence)) == ["duplicate"]
    assert row(db, "tasks", task_id)["attempt"] == 1


def test_it_stays_a_duplicate_when_the_task_runs_again_and_when_it_has_ended(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    send(db, request(retry=AT_ONCE))
    first = worker.claim_one()
    worker.finish(failed(first))
    move_clock(db, 1)
    second = worker.claim_one()
    assert worker.finish(failed(first)) == ["duplicate"]
    assert worker.finish(done(second)) == ["accepted"]
    assert worker.finish(failed(first)) == ["duplicate"]
    assert row(db, "history", first.task_id)["status"] == "COMPLETED"


WRONG: dict[str, Callable[[Fence], Fence]] = {
    "an older exchange": lambda fence: replace(fence, exchange_no=fence.exchange_no - 1),
    "a later exchange": lambda fence: replace(fence, exchange_no=fence.exchange_no + 1),
    "an unknown task": lambda fence: replace(fence, task_id=uuid7()),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_fence_is_stale_and_nothing_is_written(
    db: Session, worker: DrivenWorker, fence: Fence, how: str
) -> None:
    before = row(db, "tasks", fence.task_id)
    assert worker.finish(done(WRONG[how](fence))) == ["stale"]
    assert row(db, "tasks", fence.task_id) == before
    assert scalar(db, "select count(*) from horsies.history") == 0


def test_the_outcome_of_another_worker_is_stale(db: Session, worker: DrivenWorker, fence: Fence) -> None:
    other = DrivenWorker(db)
    assert other.finish(done(fence)) == ["stale"]
    assert worker.finish(done(fence)) == ["accepted"]
    assert other.finish(done(fence)) == ["stale"]


def test_the_outcome_of_a_released_claim_is_stale(db: Session, worker: DrivenWorker, fence: Fence) -> None:
    worker.release(fence)
    assert worker.finish(done(fence)) == ["stale"]
    again = worker.claim_one()
    assert worker.finish(done(fence)) == ["stale"]
    assert worker.finish(done(again)) == ["accepted"]


def test_a_late_outcome_of_a_worker_that_was_declared_dead_is_stale(
    db: Session, worker: DrivenWorker, fence: Fence
) -> None:
    reap(db, proven_dead=worker.id)
    assert worker.finish(done(fence)) == ["stale"]
    assert worker.finish(failed(fence)) == ["stale"]
    assert row(db, "history", fence.task_id)["error_code"] == "WORKER_CRASHED"


def test_it_is_stale_too_when_the_task_was_given_to_another_worker(db: Session, worker: DrivenWorker) -> None:
    freeze_clock(db)
    send(db, request(retry=AFTER_CRASH))
    fence = worker.claim_one()
    reap(db, proven_dead=worker.id)
    move_clock(db, 1)
    other = DrivenWorker(db)
    again = other.claim_one()
    assert worker.finish(done(fence)) == ["stale"]
    assert other.finish(done(again)) == ["accepted"]
    assert worker.finish(done(fence)) == ["stale"]
    assert row(db, "history", fence.task_id)["attempt"] == 2


def test_a_crash_that_the_worker_itself_reported_is_a_duplicate_when_sent_again(
    worker: DrivenWorker, fence: Fence
) -> None:
    assert worker.finish(failed(fence, "WORKER_CRASHED")) == ["accepted"]
    assert worker.finish(failed(fence, "WORKER_CRASHED")) == ["duplicate"]


def test_each_outcome_of_a_batch_has_its_own_verdict(db: Session, worker: DrivenWorker, fence: Fence) -> None:
    ended = ended_task(db)
    send(db)
    finished = worker.claim_one()
    worker.finish(done(finished))
    stale = Fence(ended, 1)
    assert worker.finish(done(stale), done(fence), done(finished)) == ["stale", "accepted", "duplicate"]


def test_an_outcome_that_comes_twice_in_a_batch_is_written_once(
    db: Session, worker: DrivenWorker, fence: Fence
) -> None:
    assert set(worker.finish(done(fence), done(fence))) == {"accepted"}
    assert scalar(db, "select count(*) from horsies.history") == 1


def test_of_two_claims_of_one_task_in_a_batch_only_the_latest_is_written(
    db: Session, worker: DrivenWorker, fence: Fence
) -> None:
    worker.release(fence)
    again = worker.claim_one()
    worker.finish(done(fence, b'"old"'), done(again, b'"new"'))
    assert row(db, "history", fence.task_id)["result"] == b'"new"'


def test_nothing_to_finish_is_nothing_done(worker: DrivenWorker) -> None:
    assert worker.finish() == []


PAYLOADS = [
    b"null",
    b'{"b": 1,  "a": 2, "b": 3}',
    b"[-0.0, 1e400, 0.1000, 1E5]",
    b"123456789012345678901234567890",
    b'"\\u0000 \\ud83d\\ude00 \\"quoted\\" \\/"',
    '"ü 😀"'.encode(),
    b'"' + b"x" * 10_000_000 + b'"',
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=[payload[:20].decode(errors="replace") for payload in PAYLOADS])
def test_the_bytes_of_arguments_and_results_come_back_as_they_went_in(
    db: Session, worker: DrivenWorker, payload: bytes
) -> None:
    task_id = send(db, request(args=payload))
    (task,) = worker.ask().tasks
    assert task.args == payload
    worker.finish(done(Fence(task_id, worker.exchange_no), payload))
    ended = row(db, "history", task_id)
    assert (ended["args"], ended["result"]) == (payload, payload)


def test_a_batch_of_a_thousand_is_written_whole(db: Session, worker: DrivenWorker) -> None:
    ids = [send(db) for _ in range(1000)]
    fences = worker.claim(1000)
    assert set(worker.finish(*map(done, fences))) == {"accepted"}
    assert scalar(db, "select count(*) from horsies.tasks") == 0
    assert scalar(db, "select count(*) from horsies.history where id = any (%s)", ids) == 1000
