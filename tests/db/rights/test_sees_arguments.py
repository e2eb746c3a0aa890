"""`sees_arguments`: only users with that right see arguments, results and errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from horsies.db.queries import tasks as task_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.db.rights import Kind, grant_sql
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.support.factories import DrivenWorker, ended_task, failed, send
from tests.support.roles import new_role
from tests.support.runs import finish, node, start, state
from tests.support.sessions import Session, call, scalar

SEEING: dict[tuple[Kind, ...], bool] = {
    (Kind.PRODUCER,): True,
    (Kind.WORKER,): True,
    (Kind.VIEWER,): False,
    (Kind.OPERATOR,): False,
    (Kind.VIEWER, Kind.ARGUMENTS): True,
    (Kind.OPERATOR, Kind.ARGUMENTS): True,
}


@contextmanager
def logged_in(db: Session, *kinds: Kind) -> Iterator[None]:
    """Make the session one of a role with these rights."""
    with new_role(db) as role:
        db.execute(grant_sql(DEFAULT_SCHEMA, role, kinds).encode())
        db.execute(f"set session authorization {role}".encode())
        try:
            yield
        finally:
            db.execute("reset session authorization")


@pytest.mark.parametrize("kinds", SEEING)
def test_kinds_that_see_arguments(db: Session, kinds: tuple[Kind, ...]) -> None:
    done_task, live_task = ended_task(db), send(db)
    with logged_in(db, *kinds):
        ended = call(db, task_queries.task_info(done_task, with_args=True))
        live = call(db, task_queries.task_info(live_task, with_args=True))
    assert ended is not None
    assert live is not None
    assert (ended.status, live.status) == ("COMPLETED", "PENDING")
    seen = [each is not None for each in (ended.args, ended.result, live.args)]
    assert seen == [SEEING[kinds]] * 3


def test_a_viewer_sees_the_code_of_an_error_but_not_the_error(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert worker.finish(failed(fence)) == ["accepted"]
    for kinds in ([Kind.VIEWER], [Kind.VIEWER, Kind.ARGUMENTS]):
        with logged_in(db, *kinds):
            [attempt] = call(db, task_queries.task_attempts(fence.task_id))
        assert attempt.error_code == "BOOM"
        assert (attempt.error is not None) == (Kind.ARGUMENTS in kinds)


def test_a_viewer_sees_the_states_of_a_run_but_not_its_results(db: Session) -> None:
    run = start(db, node(), output=0)
    finish(db, DrivenWorker(db), run, 0)
    assert state(db, run).error is not None or state(db, run).output_result is not None
    with logged_in(db, Kind.VIEWER):
        seen = state(db, run)
        [task] = call(db, workflow_queries.workflow_tasks(run, with_results=True))
    assert (seen.status, seen.error, seen.output_result) == ("FAILED", None, None)
    assert (task.status, task.error_code, task.result, task.summary) == ("FAILED", "BOOM", None, None)


def test_the_owner_sees_everything(db: Session) -> None:
    assert scalar(db, "select horsies.sees_arguments()")
