"""`enqueue_many`: accepts the tasks of one send together, and each of them exactly once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from psycopg import IsolationLevel, errors

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.tasks import EnqueueRequest
from tests.support.factories import DrivenWorker, batch_of, done, enqueue, failed, request
from tests.support.sessions import NOON, InBackground, NewSession, Session, call, freeze_clock, row, scalar

POLICY = RetryPolicy.fixed([60], auto_retry_for=["BOOM"])
ROWS = "select count(*) from horsies.tasks"


def enqueue_many(db: Session, *requests: EnqueueRequest, replay: bool = False) -> int | None:
    return call(db, task_queries.enqueue_many(batch_of(requests), replay=replay))


def numbered(count: int) -> list[EnqueueRequest]:
    """Requests with different arguments and fingerprints."""
    return [request(args=b'{"a":%d}' % number, fingerprint=bytes([number + 1]) * 32) for number in range(count)]


def end(db: Session, ids: Sequence[UUID]) -> None:
    """Run all due tasks, of which these are expected, to their end."""
    worker = DrivenWorker(db)
    fences = worker.claim(100)
    assert {fence.task_id for fence in fences} == set(ids)
    assert worker.finish(*map(done, fences)) == ["accepted"] * len(fences)


def test_each_row_is_that_of_a_single_send(db: Session) -> None:
    freeze_clock(db)
    deadline = NOON + timedelta(microseconds=1)
    wanted = [
        request(name="mail", queue="letters", priority=7, args='{"a":"Zoë \\n","b":[1]}'.encode()),
        request(good_until=deadline, retry=POLICY, timeout_ms=100, delay=90.5),
        request(name='a "name", with {all}\\ of it', args=b"{}"),
        request(name="mail", queue="letters", priority=7),
    ]
    wanted = [replace(each, fingerprint=bytes([number]) * 32) for number, each in enumerate(wanted)]
    assert enqueue_many(db, *wanted) is None
    many = [row(db, "tasks", each.task_id) for each in wanted]
    db.execute("delete from horsies.tasks")
    for each in wanted:
        enqueue(db, each)
    assert many == [row(db, "tasks", each.task_id) for each in wanted]


def test_a_first_send_of_an_id_that_exists_fails(db: Session) -> None:
    first, second = numbered(2)
    enqueue_many(db, first)
    with pytest.raises(errors.UniqueViolation):
        enqueue_many(db, second, first)
    assert scalar(db, ROWS) == 1


class TestReplays:
    """Replays of sends whose answer was lost."""

    def test_of_a_send_that_was_not_committed(self, db: Session) -> None:
        wanted = numbered(3)
        assert enqueue_many(db, *wanted, replay=True) is None
        assert [row(db, "tasks", each.task_id)["args"] for each in wanted] == [each.args for each in wanted]

    def test_of_waiting_tasks(self, db: Session) -> None:
        wanted = numbered(3)
        enqueue_many(db, *wanted)
        before = [row(db, "tasks", each.task_id) for each in wanted]
        assert enqueue_many(db, *wanted, replay=True) is None
        assert [row(db, "tasks", each.task_id) for each in wanted] == before

    def test_of_tasks_of_which_some_have_ended(self, db: Session) -> None:
        wanted = numbered(3)
        enqueue_many(db, *wanted[:2])
        end(db, [each.task_id for each in wanted[:2]])
        enqueue_many(db, wanted[2])
        assert enqueue_many(db, *wanted, replay=True) is None
        assert scalar(db, ROWS) == 1

    def test_of_tasks_that_have_all_ended(self, db: Session) -> None:
        wanted = numbered(3)
        enqueue_many(db, *wanted)
        end(db, [each.task_id for each in wanted])
        for _ in range(2):
            assert enqueue_many(db, *wanted, replay=True) is None
            assert scalar(db, ROWS) == 0

    def test_of_tasks_whose_records_are_partly_pruned(self, db: Session) -> None:
        wanted = numbered(3)
        enqueue_many(db, *wanted)
        end(db, [each.task_id for each in wanted])
        db.execute("delete from horsies.history where id = %s", (wanted[0].task_id,))
        assert enqueue_many(db, *wanted, replay=True) is None
        assert scalar(db, ROWS) == 0

    def test_of_a_task_that_runs_or_waits_for_its_retry(self, db: Session) -> None:
        wanted = [request(retry=POLICY)]
        enqueue_many(db, *wanted)
        worker = DrivenWorker(db)
        fence = worker.claim_one()
        enqueue_many(db, *wanted, replay=True)
        assert worker.finish(failed(fence)) == ["accepted"]
        enqueue_many(db, *wanted, replay=True)
        assert (scalar(db, ROWS), row(db, "tasks", wanted[0].task_id)["attempt"]) == (1, 1)

    @pytest.mark.parametrize("is_ended", [False, True])
    def test_the_first_id_of_another_request_is_named(self, db: Session, *, is_ended: bool) -> None:
        wanted = numbered(4)
        enqueue_many(db, *wanted)
        if is_ended:
            end(db, [each.task_id for each in wanted])
        others = [*wanted[:2], *(replace(each, fingerprint=b"x" * 32) for each in wanted[2:])]
        assert enqueue_many(db, *others, replay=True) == 3

    def test_needs_to_see_what_others_have_committed(self, db: Session) -> None:
        db.isolation_level = IsolationLevel.REPEATABLE_READ
        with db.transaction(), pytest.raises(errors.FeatureNotSupported), db.transaction():
            enqueue_many(db, *numbered(1), replay=True)

    def test_during_the_commit_of_the_first_send_wait_for_it(
        self, db: Session, new_session: NewSession, in_background: InBackground
    ) -> None:
        wanted, replayer = numbered(3), new_session()
        with db.transaction():
            enqueue_many(db, *wanted)
            replayed = in_background(lambda: enqueue_many(replayer, *wanted, replay=True))
            assert not replayed.done()
        assert replayed.result(timeout=10) is None
        assert scalar(db, ROWS) == 3


def test_many_kinds_are_joined_in_linear_time(db: Session) -> None:
    """Each task has a delay of its own. A nested loop would compare ten thousand kinds with as many tasks."""
    wanted = [request(delay=number, fingerprint=bytes(32)) for number in range(10_000)]
    with db.transaction():
        db.execute("set local statement_timeout = '15s'")
        assert enqueue_many(db, *wanted) is None
    assert scalar(db, "select count(distinct run_at) from horsies.tasks") == 10_000
