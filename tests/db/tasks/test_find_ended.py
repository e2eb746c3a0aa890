"""`find_ended`: finds the history row of a task, even if the clock of the sender was wrong."""

from datetime import timedelta

import pytest
from uuid_utils.compat import uuid7

from tests.support.factories import NUMBERED_AT, ended_task, numbered_id, request
from tests.support.sessions import Session, column, freeze_clock


@pytest.mark.parametrize("took", [timedelta(0), timedelta(days=400), timedelta(hours=-23), timedelta(days=-400)])
def test_an_ended_task_is_found_however_wrong_the_clock_of_its_sender(db: Session, took: timedelta) -> None:
    freeze_clock(db, NUMBERED_AT + took)
    task_id = ended_task(db, request(numbered_id(1)))
    assert column(db, "select id from horsies.find_ended(%s)", task_id) == [task_id]


def test_an_unknown_id_is_not_found(db: Session) -> None:
    ended_task(db)
    assert column(db, "select id from horsies.find_ended(%s)", uuid7()) == []
