"""`rerunnable`: selects the tasks of a bulk rerun."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.monitoring import TaskFilter
from horsies.db.queries.rows import RerunnableRow
from tests.support.factories import DrivenWorker, done, failed, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

MINUTE = timedelta(minutes=1)


def look(session: Session, *statuses: str, most: int = 10, **wanted: Any) -> RerunnableRow:
    again = wanted.pop("again", False)
    wanted = {"statuses": statuses or ["FAILED"], **wanted}
    return call(session, monitoring_queries.rerunnable(TaskFilter(**wanted), most, again=again))


@pytest.fixture
def ids(db: Session) -> list[UUID]:
    """Create a success, then a failure each minute from noon on; the last one has another name and queue."""
    freeze_clock(db)
    sent = [send(db) for _ in range(4)] + [send(db, request(name="mail", queue="other"))]
    worker = DrivenWorker(db, names=["add", "mail"], queues=["default", "other"])
    first, *others = (fence for _ in range(5) for fence in worker.claim())
    worker.finish(done(first))
    for fence, code in zip(others, ["BOOM", "BOOM", "BANG", "BOOM"], strict=True):
        worker.finish(failed(fence, code))
        move_clock(db, 60)
    return sent


def test_those_that_failed_in_the_order_of_their_ends(db: Session, ids: list[UUID]) -> None:
    found = look(db)
    assert found == RerunnableRow(4, 0, NOON + 4 * MINUTE, ids[1:], [0, 0, 0, 0])
    assert look(db, most=2) == found._replace(ids=ids[1:3], reruns=[0, 0])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"queue": "default"}, [1, 2, 3]),
        ({"name": "mail"}, [4]),
        ({"name": "mail", "queue": "default"}, []),
        ({"codes": ["BANG"]}, [3]),
        ({"codes": ["BANG", "OTHER"], "statuses": ["COMPLETED", "FAILED"]}, [3]),
        ({"since": NOON + MINUTE}, [2, 3, 4]),
        ({"until": NOON + MINUTE}, [1]),
        ({"since": NOON + MINUTE, "until": NOON + 2 * MINUTE}, [2]),
        ({"statuses": ["COMPLETED"]}, [0]),
        ({"statuses": ["COMPLETED", "FAILED"]}, [0, 1, 2, 3, 4]),
        ({"statuses": ["CANCELLED", "EXPIRED"]}, []),
    ],
    ids=str,
)
def test_conditions(db: Session, ids: list[UUID], wanted: dict[str, Any], expected: list[int]) -> None:
    found = look(db, **wanted)
    assert set(found.ids) == {ids[place] for place in expected}
    assert (found.matching, found.left_out) == (len(expected), 0)


def test_the_cut_off_is_the_clock_or_an_earlier_end(db: Session, ids: list[UUID]) -> None:
    assert ids
    assert look(db, until=NOON + 9 * MINUTE).cut_off == NOON + 4 * MINUTE
    assert look(db, until=NOON + MINUTE).cut_off == NOON + MINUTE
    freeze_clock(db, NOON - 2 * MINUTE)  # two of them ended after this
    assert look(db).ids == ids[1:4]


def test_what_has_a_rerun_is_left_out_unless_it_is_asked_for(db: Session, ids: list[UUID]) -> None:
    new_id = uuid7()
    for made in (new_id, uuid7()):
        call(db, task_queries.rerun(ids[2], made))
    found = look(db)
    assert (found.matching, found.left_out, found.ids) == (3, 1, [ids[1], *ids[3:]])
    again = look(db, again=True)
    assert (again.matching, again.left_out, again.ids, again.reruns) == (4, 0, ids[1:], [0, 2, 0, 0])


def test_a_rerun_that_failed_takes_the_place_of_its_origin(db: Session, ids: list[UUID]) -> None:
    new_id = uuid7()
    call(db, task_queries.rerun(ids[1], new_id))
    worker = DrivenWorker(db)
    worker.finish(failed(worker.claim_one()))
    assert look(db).ids == [*ids[2:], new_id]
