"""`spread_wait`: workers that wait for the same instant do not all claim at that instant."""

import pytest

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, hold, rate, send_keys
from tests.support.sessions import Session, column, freeze_clock, scalar

_WAITS = """
    select horsies.spread_wait(c + make_interval(secs => %s), c)
    from (select horsies.now()) as clock (c), generate_series(1, 200) as n
"""


@pytest.mark.parametrize(("seconds", "longest"), [(0.02, 0.022), (0.5, 0.55), (1, 1.1), (3600, 3600.1)])
def test_a_wait_is_up_to_a_tenth_longer_but_never_shorter(db: Session, seconds: float, longest: float) -> None:
    waits = column(db, _WAITS, seconds)
    assert min(waits) >= seconds
    assert max(waits) <= longest + 1e-9
    assert len(set(waits)) > 100
    assert max(waits) - min(waits) > (longest - seconds) / 2


def test_what_is_over_or_never_ends_is_not_made_longer(db: Session) -> None:
    assert set(column(db, _WAITS, -1)) == {-1}
    assert scalar(db, "select horsies.spread_wait('infinity', now())") is None
    assert scalar(db, "select horsies.spread_wait(null, now())") is None


@pytest.mark.parametrize("waits_for", ["token", "token of a key", "hold", "hold of a key"])
def test_workers_that_wait_for_the_same_instant_wake_one_after_the_other(db: Session, waits_for: str) -> None:
    freeze_clock(db)
    once = rate(1, 60, burst=1)
    declare_queue(
        db,
        takes_turns="key" in waits_for,
        rate=once if waits_for == "token" else None,
        rate_per_key=once if waits_for == "token of a key" else None,
    )
    send_keys(db, "aa")
    if waits_for.startswith("hold"):
        hold(db, "horsies.now() + interval '1 minute'", key="a" if "key" in waits_for else None)
    else:
        assert len(DrivenWorker(db).claim(2)) == 1
    found = [DrivenWorker(db).ask(2).due_in for _ in range(5)]
    assert all(each is not None and 60 <= each <= 60.1 for each in found), found
    assert len(set(found)) == 5


@pytest.mark.parametrize("held", [None, "a"])
def test_the_end_of_a_hold_is_spread_though_the_limited_task_falls_due_then(db: Session, held: str | None) -> None:
    """A task that was limited falls due when the hold of its key or queue ends."""
    freeze_clock(db)
    declare_queue(db)
    send_keys(db, "a", delay=60)
    hold(db, "horsies.now() + interval '1 minute'", key=held)
    found = {DrivenWorker(db).ask(2).due_in for _ in range(5)}
    assert len(found) == 5
    assert 60 not in found
