"""`run_of_task`: the run to which a task belongs."""

from uuid import UUID

from horsies.db.queries import runs as run_queries
from tests.support.factories import DrivenWorker, done, ended_task, send
from tests.support.runs import node, start
from tests.support.sessions import Session, call


def test_a_live_and_an_ended_task_of_a_run(db: Session) -> None:
    run = start(db, node(node_id="pay"), name="order")
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert call(db, run_queries.run_of_task(fence.task_id)) == (run, "order", "pay", None)
    worker.finish(done(fence))
    assert call(db, run_queries.run_of_task(fence.task_id)) == (run, "order", "pay", None)


def test_other_tasks_belong_to_no_run(db: Session) -> None:
    for task_id in (send(db), ended_task(db), UUID(int=1)):
        assert call(db, run_queries.run_of_task(UUID(str(task_id)))) is None


def test_the_run_was_pruned(db: Session) -> None:
    start(db, node())
    fence = DrivenWorker(db).claim_one()
    db.execute("delete from horsies.workflows")
    assert call(db, run_queries.run_of_task(fence.task_id)) is None
