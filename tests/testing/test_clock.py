"""`advance`, `freeze` and `tick_schedules` move the time of tasks."""

from datetime import UTC, datetime, timedelta

import pytest

from horsies import TaskStatus
from horsies.testing import TestQueue
from tests.testing.shop import add, fails_twice, planned, report

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


def test_delayed_tasks_and_retries_run_in_the_order_of_their_times(queue: TestQueue) -> None:
    queue.freeze(NOON)
    fails_twice.send().unwrap()
    add.with_options(delay=90).send(1).unwrap()
    queue.advance("3 days")
    ran = queue.drain()
    seconds = [((each.at - NOON).total_seconds(), each.task_name) for each in ran]
    assert seconds == [(0, "fails_twice"), (60, "fails_twice"), (90, "add"), (3660, "fails_twice")]
    assert queue.now() == NOON + timedelta(days=3)
    assert [each.status for each in queue.outcomes()] == [TaskStatus.COMPLETED] * 2
    assert queue.outcomes()[1].completed_at == NOON + timedelta(seconds=3660)


def test_a_frozen_clock_fires_nothing_twice(queue: TestQueue) -> None:
    queue.freeze(NOON)
    fails_twice.send().unwrap()
    queue.advance(timedelta(seconds=60))
    assert [each.attempt for each in queue.drain()] == [1, 2]
    assert not queue.drain()
    queue.freeze(NOON + timedelta(seconds=60))
    assert not queue.drain()


def test_nothing_expires_that_would_have_run(queue: TestQueue) -> None:
    queue.freeze(NOON)
    add.with_options(delay=300, good_until=NOON + timedelta(minutes=6)).send(1).unwrap()
    add.with_options(delay=540, good_until=NOON + timedelta(minutes=8)).send(2).unwrap()
    queue.advance("1 day")
    done = queue.drain()
    assert (len(done), done.expired) == (1, 1)
    assert [(each.args, each.status) for each in queue.outcomes()] == [
        ({"a": 1}, TaskStatus.COMPLETED),
        ({"a": 2}, TaskStatus.EXPIRED),
    ]
    assert queue.outcomes()[1].expired_at == NOON + timedelta(minutes=8)


def test_the_clock_waits_for_drain_while_something_is_due_before(queue: TestQueue) -> None:
    queue.freeze(NOON)
    add.with_options(delay=300).send(1).unwrap()
    queue.advance("1 hour")
    assert queue.now() == NOON
    queue.advance("1 hour")
    queue.drain()
    assert queue.now() == NOON + timedelta(hours=2)


def test_the_clock_goes_back_at_once(queue: TestQueue) -> None:
    add.send(1).unwrap()
    queue.freeze(datetime(2020, 1, 1, tzinfo=UTC))
    assert queue.now() == datetime(2020, 1, 1, tzinfo=UTC)
    assert not queue.drain()


def test_wrong_times_are_refused(queue: TestQueue) -> None:
    with pytest.raises(ValueError, match="such as \"3 days\", got 'soon'"):
        queue.advance("soon")
    with pytest.raises(ValueError, match="forward only"):
        queue.advance("-1 day")
    with pytest.raises(ValueError, match="with a time zone"):
        queue.freeze(datetime(2031, 5, 6))  # noqa: DTZ001


def test_schedules_fire_at_their_times(database_url: str) -> None:
    with TestQueue(planned, database_url=database_url) as queue:
        queue.freeze(NOON)
        queue.advance("2 days")
        done = queue.drain()
        assert (done.scheduled, len(done)) == (2, 2)
        assert [each.at for each in done] == [NOON + timedelta(hours=15), NOON + timedelta(hours=39)]
        queue.assert_sent(report, count=2)


def test_schedules_can_be_ticked_by_hand(database_url: str) -> None:
    with TestQueue(planned, database_url=database_url) as queue:
        assert queue.tick_schedules() == 0
        queue.assert_not_sent(report)
        queue.advance("1 day")
        assert queue.tick_schedules() == 0
        queue.drain(until=lambda: True)
        queue.assert_sent(report)
