"""`has_waiting`: whether tasks of a queue wait. See also `test_turns_beside_dead_rows`."""

import pytest

from tests.support.factories import DrivenWorker, request, send
from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import Session, freeze_clock, scalar

QUERY = "select horsies.has_waiting('default')"


@pytest.mark.parametrize(("turns", "delay"), [(True, 0), (True, 60), (False, 0), (False, 60)])
def test_due_and_scheduled_tasks_wait_in_turns_and_without(
    db: Session,
    turns: bool,  # noqa: FBT001 - a parameter of the test
    delay: float,
) -> None:
    freeze_clock(db)
    declare_queue(db, takes_turns=turns)
    send(db, request(queue="other"))
    assert scalar(db, QUERY) is False
    send_keys(db, "a", delay=delay)
    assert scalar(db, QUERY) is True


def test_claimed_tasks_do_not_wait(db: Session) -> None:
    declare_queue(db)
    send_keys(db, "a")
    DrivenWorker(db).claim_one()
    assert scalar(db, QUERY) is False
