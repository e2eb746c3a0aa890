"""`workflow_start`: starts a run once, even if the call is repeated."""

import pytest
from psycopg import errors
from uuid_utils.compat import uuid7

from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.workflows import RunRequest
from tests.support.factories import DrivenWorker
from tests.support.runs import finish, node, request, start, state, statuses
from tests.support.sessions import InBackground, NewSession, Session, call, scalar, wait_until_blocked


def begin(session: Session, wanted: RunRequest) -> str:
    return call(session, workflow_queries.workflow_start(wanted))


def test_the_nodes_that_wait_for_nothing_are_enqueued(db: Session) -> None:
    run = start(db, node(), node(0), node())
    assert statuses(db, run) == ["ENQUEUED", "PENDING", "ENQUEUED"]
    assert scalar(db, "select count(*) from horsies.tasks where workflow_id = %s and root_id = %s", run, run) == 2


def test_a_replay_starts_nothing_even_after_the_end(db: Session) -> None:
    wanted = request([node()])
    assert [begin(db, wanted), begin(db, wanted)] == ["started", "known"]
    finish(db, DrivenWorker(db), wanted.run_id)
    assert begin(db, wanted) == "known"
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_the_id_of_another_spec_is_refused(db: Session) -> None:
    run = start(db, node())
    assert begin(db, request([node(), node()], run)) == "mismatch"
    assert state(db, run).total == 1


def test_two_replays_at_once_start_one_run(db: Session, new_session: NewSession, in_background: InBackground) -> None:
    wanted, other, observing = request([node()]), new_session(), new_session()
    with db.transaction():
        assert begin(db, wanted) == "started"
        second = in_background(lambda: begin(other, wanted))
        wait_until_blocked(observing, other)
    assert second.result() == "known"
    assert scalar(db, "select count(*) from horsies.tasks") == 1


def test_a_bad_document_leaves_nothing(db: Session) -> None:
    with pytest.raises(errors.CheckViolation):
        begin(db, request([node(), node(priority=0)], uuid7()))
    assert scalar(db, "select count(*) from horsies.workflows") == 0


def test_a_stricter_transaction_takes_a_first_start_and_refuses_a_replay(db: Session) -> None:
    db.execute("set default_transaction_isolation = 'repeatable read'")
    wanted = request([node()])
    assert begin(db, wanted) == "started"
    with pytest.raises(errors.FeatureNotSupported):
        begin(db, wanted)
