"""`workflow_settle`: how a run ends."""

from typing import Any

import pytest

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, done, failed
from tests.support.runs import finish, node, read, start, state
from tests.support.sessions import Ear, Session, call

POLICIES: list[tuple[dict[str, Any], tuple[int, ...], str, str | None]] = [
    ({}, (), "COMPLETED", None),
    ({}, (1, 2), "FAILED", "BOOM"),
    ({"cases": [[0]]}, (1, 2), "COMPLETED", None),
    ({"cases": [[1], [0, 2]]}, (1,), "COMPLETED", None),
    ({"cases": [[1], [0, 2]]}, (1, 2), "FAILED", "BOOM"),
    ({"cases": [[3]]}, (0,), "FAILED", "WORKFLOW_SUCCESS_CASE_NOT_MET"),
]


@pytest.mark.parametrize(("options", "failing", "status", "code"), POLICIES)
def test_success_is_as_the_policy_says(
    db: Session, options: dict[str, Any], failing: tuple[int, ...], status: str, code: str | None
) -> None:
    run = start(db, node(), node(), node(), node(0), **options)
    worker = DrivenWorker(db)
    finish(db, worker, run, *failing)
    finish(db, worker, run)
    ended = state(db, run)
    assert ended.status == status
    assert (None if ended.error is None else read(ended.error)["error_code"]) == code


def test_the_error_is_that_of_the_first_failure(db: Session) -> None:
    run = start(db, node(), node(), node(0))
    worker = DrivenWorker(db)
    claims = sorted(worker.claim(2), key=lambda fence: fence.task_id)
    worker.finish(failed(claims[1], "SECOND_NODE"))
    worker.finish(done(claims[0]))
    finish(db, worker, run, 2)
    assert read(state(db, run).error)["error_code"] == "SECOND_NODE"


def test_waiters_for_the_run_are_notified(db: Session) -> None:
    run = start(db, node())
    ear = Ear(db, "done")
    finish(db, DrivenWorker(db), run)
    call(db, worker_queries.announce())
    assert run.hex in ear.heard()
