"""`workflow_state`: the state of a run."""

from uuid_utils.compat import uuid7

from horsies.db.queries import workflows as workflow_queries
from tests.support.factories import DrivenWorker
from tests.support.runs import finish, node, read, start, state
from tests.support.sessions import Session, call


def test_no_such_run(db: Session) -> None:
    assert call(db, workflow_queries.workflow_state(uuid7())) is None


def test_the_output_is_that_of_its_node_also_if_a_policy_made_the_run_complete(db: Session) -> None:
    run = start(db, node(), node(), output=1, cases=[[0]])
    assert state(db, run).output_result is None
    finish(db, DrivenWorker(db), run, 1)
    ended = state(db, run)
    assert (ended.status, ended.output_status, ended.output_task) == ("COMPLETED", "FAILED", "add")
    assert read(ended.output_result)["error_code"] == "BOOM"
