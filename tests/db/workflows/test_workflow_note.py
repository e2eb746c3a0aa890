"""`workflow_note`: the end of a task updates its node."""

from datetime import timedelta

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, done, expire, failed, reap
from tests.support.runs import fences, finish, node, nodes_of, read, start, state, statuses
from tests.support.sessions import NOON, Session, call, column, freeze_clock, move_clock


def test_a_node_owns_its_result_and_its_times(db: Session) -> None:
    freeze_clock(db)
    run = start(db, node())
    worker = DrivenWorker(db)
    move_clock(db, 1)
    claims = fences(db, worker, run)
    assert statuses(db, run) == ["RUNNING"]
    move_clock(db, 1)
    worker.finish(done(claims[0], b'{"b":1.50}'))
    db.execute("drop table " + column(db, "select tableoid::regclass::text from horsies.history")[0])
    (ended,) = nodes_of(db, run)
    assert (ended.status, ended.result) == ("COMPLETED", b'{"b":1.50}')
    assert (ended.started_at, ended.finished_at) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=2))


def test_a_retry_leaves_the_node_running(db: Session) -> None:
    policy = read(RetryPolicy.fixed([0.001], jitter=False, auto_retry_for=["BOOM"]).to_json())
    run = start(db, node(retry_policy=policy))
    worker = DrivenWorker(db)
    worker.finish(failed(fences(db, worker, run)[0]))
    assert (statuses(db, run), state(db, run).status) == (["RUNNING"], "RUNNING")


def test_a_cancelled_task_fails_its_node(db: Session) -> None:
    run = start(db, node())
    call(db, task_queries.cancel(column(db, "select id from horsies.tasks")[0]))
    assert [(each.status, each.error_code) for each in nodes_of(db, run)] == [("FAILED", "TASK_CANCELLED")]


def test_an_expired_task_fails_its_node(db: Session) -> None:
    run = start(db, node(good_until="2001-01-01T00:00:00+00:00"), node(0))
    assert expire(db) == 1
    assert [(each.status, each.error_code) for each in nodes_of(db, run)] == [
        ("FAILED", "TASK_EXPIRED"),
        ("SKIPPED", "UPSTREAM_SKIPPED"),
    ]


def test_the_death_of_a_worker_fails_the_node(db: Session) -> None:
    run = start(db, node())
    worker = DrivenWorker(db)
    worker.claim_one()
    assert reap(db, worker.id).crashed == 1
    assert nodes_of(db, run)[0].error_code == "WORKER_CRASHED"


@pytest.mark.parametrize(
    "inner",
    [{"kind": "workflow", "task_name": "horsies.build:child"}, {"kind": "map", "over": 0, "item_parameter": "a"}],
    ids=["build", "expand"],
)
def test_a_build_or_an_expansion_that_a_fail_over_lost_fails_its_node(db: Session, inner: dict[str, str]) -> None:
    """The commit of the build was lost, but the finish of its task was sent again and stored."""
    run = start(db, node(), node(0, **inner), node(1))
    finish(db, DrivenWorker(db), run)
    worker = DrivenWorker(db, names=["horsies.build:child", "horsies.map"])
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    assert statuses(db, run) == ["COMPLETED", "FAILED", "SKIPPED"]
    error = read(nodes_of(db, run)[1].result)
    assert (error["error_code"], nodes_of(db, run)[1].error_code) == ("WORKFLOW_ENQUEUE_FAILED",) * 2
    assert "was lost" in error["message"]
    assert state(db, run).status == "FAILED"


def test_an_outcome_that_is_sent_again_moves_nothing(db: Session) -> None:
    run = start(db, node(), node(0))
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert [*worker.finish(done(fence)), *worker.finish(done(fence))] == ["accepted", "duplicate"]
    assert statuses(db, run) == ["COMPLETED", "ENQUEUED"]
