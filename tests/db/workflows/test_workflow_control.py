"""`workflow_control`: pause, resume and cancel."""

import pytest
from uuid_utils.compat import uuid7

from tests.support.factories import DrivenWorker
from tests.support.runs import control, finish, node, start, state
from tests.support.sessions import Session

ACTIONS = pytest.mark.parametrize("action", ["pause", "resume", "cancel"])


@ACTIONS
def test_no_such_run(db: Session, action: str) -> None:
    assert control(db, uuid7(), action) == "unknown"


@ACTIONS
def test_a_run_that_has_ended_does_not_change(db: Session, action: str) -> None:
    run = start(db, node())
    finish(db, DrivenWorker(db), run)
    assert control(db, run, action) == "unchanged"


def test_it_says_whether_it_changed_the_run(db: Session) -> None:
    run = start(db, node())
    actions = ["resume", "pause", "pause", "resume", "resume", "pause", "cancel", "cancel"]
    changes = [control(db, run, action) == "changed" for action in actions]
    assert changes == [False, True, False, True, False, True, True, False]
    assert state(db, run).status == "CANCELLED"
