"""`keep_turn_marks`: which ranges of keys the next claims of a session use, and for how long."""

from datetime import datetime, timedelta
from math import inf
from typing import Any

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import NOON, Session, freeze_clock, move_clock, scalar

QUERY = "select horsies.keep_turn_marks('default', %s, %s::text[], %s::timestamptz[], %s, %s)"


def keep(
    db: Session,
    ranges: list[tuple[str | None, float]] | None,
    *,
    priority: int = 100,
    clock: float = 100,
    counts: bool = False,
) -> dict[str, Any]:
    """Keep ranges, and return all marks of the queue."""
    uppers = None if ranges is None else [upper for upper, _ in ranges]
    since = ranges and ["-infinity" if each == -inf else str(at(each)) for _, each in ranges]
    db.execute(QUERY, (priority, uppers, since, counts, at(clock)))
    return scalar(db, "select horsies.turn_marks('default')") or {}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def validity(part: Any) -> tuple[float, float]:
    """Return from when until when the ranges of a priority are used, in seconds since noon."""
    begin, end = (datetime.fromisoformat(part[name]) - NOON for name in ("from", "until"))
    return begin.total_seconds(), end.total_seconds()


def test_ranges_are_used_for_five_seconds_from_the_first_walk_on(db: Session) -> None:
    assert validity(keep(db, [(None, 5)])["100"]) == (100, 105)
    kept = keep(db, [("a", 7), (None, 5)], clock=104)["100"]
    assert validity(kept) == (100, 105)
    assert kept["uppers"] == ["a", None]
    assert validity(keep(db, [(None, 5)], clock=106)["100"]) == (106, 111)


def test_priorities_have_separate_ranges_which_end_separately(db: Session) -> None:
    keep(db, [("a", 1), (None, -inf)])
    kept = keep(db, [("b", 1), (None, -inf)], priority=7, clock=104)
    assert (kept["7"]["uppers"], kept["100"]["uppers"]) == (["b", None], ["a", None])
    kept = keep(db, [("c", 1), (None, -inf)], priority=8, clock=106)
    assert kept.keys() - {"table", "queue"} == {"7", "8"}, "that of 100 has ended"
    assert keep(db, None, priority=8, clock=106).keys() - {"table", "queue"} == {"7"}
    assert keep(db, None, priority=7, clock=106) == {}


def test_of_many_ranges_two_adjacent_ones_become_one(db: Session) -> None:
    ranges: list[tuple[str | None, float]] = [(f"{number:04}", number % 50) for number in range(1_000)]
    kept = keep(db, [*ranges, (None, 7)])["100"]
    assert len(kept["uppers"]) == len(kept["since"]) == 501
    assert kept["uppers"][:2] == ["0001", "0003"]
    assert kept["uppers"][-2:] == ["0999", None]
    assert [datetime.fromisoformat(each) for each in kept["since"][1:3]] == [at(2), at(4)]
    assert len(keep(db, ranges)["100"]["uppers"]) == 1_000


def test_claims_are_counted_from_a_time_on_where_keys_have_a_limit(db: Session) -> None:
    declare_queue(db)
    assert "in_flight" not in keep(db, [(None, 5)])
    kept = keep(db, [(None, 5)], counts=True, clock=200)["in_flight"]
    assert datetime.fromisoformat(kept["since"]) == at(190)
    assert keep(db, [(None, 5)], counts=True, clock=200.1)["in_flight"] == kept, "once for the time of the ranges"
    assert keep(db, [(None, 5)], counts=True, clock=300)["in_flight"] != kept


def test_the_time_of_claims_stays_for_a_minute(db: Session) -> None:
    declare_queue(db)
    keep(db, [(None, 5)], counts=True)
    assert keep(db, None, clock=160).keys() == {"table", "queue", "in_flight"}
    assert keep(db, None, clock=161) == {}


def test_tasks_without_a_key_from_before_the_turns_are_counted_once_they_are_marked(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    send_keys(db, [None, None])
    assert len(worker.claim(1)) == 1
    move_clock(db, 60)
    declare_queue(db, per_key=1)
    keep(db, [(None, -inf)], clock=60, counts=True)
    while scalar(db, "select horsies.backfill_turns('{default}', 100)"):
        continue
    assert worker.claim(1) == []
