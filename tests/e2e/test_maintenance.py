"""Maintenance jobs repeat at once while a batch was full."""

from horsies.db.queries import tasks as task_queries
from tests.support.environment import Environment
from tests.support.factories import send, send_many
from tests.support.runs import control, node, start
from tests.support.sessions import call, scalar
from tests.support.waiting import wait_until

OVERDUE = 2500
OLD_RUNS = 50


def test_more_than_a_batch_is_done_within_one_interval(environment: Environment) -> None:
    db = environment.session
    send_many(db, OVERDUE)
    db.execute("update horsies.tasks set good_until = now() - interval '1 second'")
    for _ in range(OLD_RUNS):
        control(db, start(db, node()), "cancel")
    db.execute("update horsies.workflows set finished_at = now() - interval '1000 hours'")
    environment.ready_worker()
    wait_until(lambda: not environment.live_tasks(), 15, lambda: f"the end of {environment.live_tasks()} overdue tasks")
    wait_until(lambda: not scalar(db, "select count(*) from horsies.workflows"), 5, "that old runs are forgotten")
    assert scalar(db, "select count(*) from horsies.history where status = 'EXPIRED'") == OVERDUE


def test_a_worker_counts_the_minutes_that_have_ended(environment: Environment) -> None:
    db = environment.session
    for _ in range(3):
        assert call(db, task_queries.cancel(send(db))) == "cancelled"
    db.execute("update horsies.history set finished_at = finished_at - interval '5 minutes'")
    environment.ready_worker()
    wait_until(lambda: scalar(db, "select count(*) from horsies.sampling"), 15, "the first samples")
    counts = "select coalesce(sum(cancelled), 0) from horsies.samples where period_s = "
    wait_until(lambda: scalar(db, counts + "60") == 3, 15, "that the cancelled tasks are counted")
    assert scalar(db, counts + "600") == scalar(db, counts + "3600") == 3
