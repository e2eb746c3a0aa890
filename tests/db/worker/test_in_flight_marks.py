"""`in_flight_marks`: from which time on the claimed tasks of a queue have to be counted."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.factories import DrivenWorker, done
from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import NOON, Session, freeze_clock, move_clock, scalar

QUERY = "select horsies.in_flight_marks('default', %s::jsonb, horsies.now(), horsies.now() - interval '10 s')"


def marks(db: Session, before: Any = None) -> Any:
    return scalar(db, QUERY, before and json.dumps(before))


def seconds(time: str) -> float:
    return (datetime.fromisoformat(time) - NOON) / timedelta(seconds=1)


def shown(kept: Any) -> tuple[float, dict[str, float]]:
    """Return the time from which claims are counted, and the times of the first claims of keys, since noon."""
    return seconds(kept["since"]), dict(zip(kept["keys"], map(seconds, kept["times"]), strict=True))


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    """Return a worker that has claimed a task of `a` and of no key at noon, two of `b` then and 5 s later."""
    freeze_clock(db)
    declare_queue(db)
    worker = DrivenWorker(db)
    send_keys(db, ["a", "b", None])
    assert len(worker.claim(9)) == 3
    move_clock(db, 5)
    send_keys(db, ["b", "c"])
    assert len(worker.claim(9)) == 2
    return worker


def test_keys_with_earlier_claims_have_the_time_of_the_first(db: Session, worker: DrivenWorker) -> None:
    move_clock(db, 7)
    assert shown(marks(db)) == (2, {"a": 0, "b": 0, "": 0})
    move_clock(db, 8)
    assert shown(marks(db)) == (10, {"a": 0, "b": 0, "": 0, "c": 5})
    assert worker.id is not None


@pytest.mark.parametrize("has_marks", [False, True])
def test_marks_lead_to_the_same_marks_as_a_look_at_everything(
    db: Session,
    worker: DrivenWorker,
    has_marks: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    move_clock(db, 7)
    kept = marks(db) if has_marks else None
    [(first,)] = db.execute("select id from horsies.tasks where task_key = 'b' order by claimed_at limit 1").fetchall()
    db.execute("select horsies.cancel(%s)", (first,))
    move_clock(db, 8)
    assert shown(marks(db, kept)) == (10, {"a": 0, "b": 5, "": 0, "c": 5})
    worker.release(*[])
    move_clock(db, 60)
    send_keys(db, "d")
    worker.finish(done(worker.claim_one()))
    assert shown(marks(db, kept)) == (70, {"a": 0, "b": 5, "": 0, "c": 5})


def test_marks_of_a_later_clock_are_not_used(db: Session, worker: DrivenWorker) -> None:
    move_clock(db, 100)
    kept = marks(db)
    kept["keys"], kept["times"] = [], []
    assert shown(marks(db, kept))[1] == {}
    move_clock(db, -1)
    assert shown(marks(db, kept))[1] == {"a": 0, "b": 0, "": 0, "c": 5}
    assert worker.exchange_no == 2
