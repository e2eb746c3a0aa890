"""Run times, and the tasks that may wait behind quick ones."""

from uuid import UUID

import pytest

from horsies.db.queries.worker import Fence
from horsies.worker.ipc import Job
from horsies.worker.runtime_estimator import MAX_WINDOW_S, MIN_AHEAD_TASKS, MIN_WINDOW_S, RuntimeEstimator

QUICK_S = 20e-6
MS = 1e-3


def job(name: str) -> Job:
    return Job(Fence(UUID(int=1), 1), 1, name, "default", b"{}", None, False, False, b"")


def estimator_of(seconds: float, *, concurrency: int = 1, between_ends: float | None = None) -> RuntimeEstimator:
    """Return an estimator that knows one task, named "known", with these times."""
    estimator = RuntimeEstimator(concurrency)
    for _ in range(50):
        estimator.observe("known", seconds, seconds / concurrency if between_ends is None else between_ends)
    return estimator


def test_no_task_waits_behind_a_task_with_an_unknown_run_time() -> None:
    estimator = RuntimeEstimator()
    assert estimator.ahead == 0
    estimator.observe("known", QUICK_S, QUICK_S)
    assert estimator.ahead == MIN_AHEAD_TASKS
    assert estimator.can_queue(job("known"), 1)
    assert not estimator.can_queue(job("unknown"), 1)


def test_one_task_that_was_interrupted_leaves_the_others_quick() -> None:
    estimator = estimator_of(QUICK_S)
    estimator.observe("known", 0.5, 0.5)
    assert estimator.ahead == MIN_AHEAD_TASKS
    assert estimator.can_queue(job("known"), MIN_AHEAD_TASKS)  # behind the one that runs and all that wait
    assert not estimator.can_queue(job("known"), MIN_AHEAD_TASKS + 1)


@pytest.mark.parametrize("concurrency", [1, 2, 100])
@pytest.mark.parametrize("round_trip", [0.5 * MS, 33 * MS, 1.0])
@pytest.mark.parametrize("seconds", [QUICK_S, 1 * MS, 4.9 * MS, 40 * MS])
def test_all_tasks_of_the_largest_claim_find_a_place_in_a_child(
    seconds: float, round_trip: float, concurrency: int
) -> None:
    """A worker claims ``1 + ahead`` tasks for an idle place. It must not return some of them to the queue."""
    estimator = estimator_of(seconds, concurrency=concurrency)
    estimator.observe_exchange(round_trip)
    assert all(estimator.can_queue(job("known"), behind) for behind in range(1, 1 + estimator.ahead))


def test_tasks_that_have_become_slow_are_soon_known_to_be() -> None:
    estimator = estimator_of(QUICK_S)
    looks = 0
    while estimator.can_queue(job("known"), 1):
        estimator.observe("known", 0.5, 0.5)
        looks += 1
    assert 1 < looks < 30
    assert estimator.ahead < 2


def test_as_much_work_waits_as_a_child_does_during_one_and_a_half_exchanges() -> None:
    estimator = estimator_of(1 * MS)
    assert estimator.ahead == 10
    estimator.observe_exchange(33 * MS)
    assert estimator.window_s == pytest.approx(49.5 * MS)
    assert estimator.ahead == 49


def test_the_window_has_limits_whatever_the_round_trip_is() -> None:
    estimator = estimator_of(QUICK_S)
    assert (estimator.window_s, estimator.max_ahead) == (MIN_WINDOW_S, MIN_AHEAD_TASKS)
    estimator.observe_exchange(0.1 * MS)
    assert (estimator.window_s, estimator.max_ahead) == (MIN_WINDOW_S, MIN_AHEAD_TASKS)
    estimator = estimator_of(QUICK_S)
    estimator.observe_exchange(1.0)
    assert estimator.window_s == MAX_WINDOW_S
    assert estimator.ahead == estimator.max_ahead == 1_000


def test_exchanges_that_wait_for_a_lock_do_not_widen_the_window() -> None:
    estimator = estimator_of(1 * MS)
    estimator.observe_exchange(1 * MS)
    for _ in range(10):
        estimator.observe_exchange(0.5)
    assert estimator.window_s == MIN_WINDOW_S
    estimator.observe_exchange(33 * MS)
    for _ in range(100):  # the database has moved away
        estimator.observe_exchange(33 * MS)
    assert estimator.round_trip_s == pytest.approx(33 * MS)
    estimator.observe_exchange(1 * MS)
    assert estimator.window_s == MIN_WINDOW_S


def test_a_place_that_is_one_of_many_is_free_soon() -> None:
    estimator = estimator_of(5 * MS, concurrency=100)
    assert estimator.ahead == 200  # one ends each 0.05 ms
    assert estimator_of(5 * MS).ahead == 2


def test_nothing_waits_behind_tasks_that_run_for_long_although_many_run_at_the_same_time() -> None:
    estimator = estimator_of(20 * MS, concurrency=100)
    assert estimator.ahead == 0
    assert not estimator.can_queue(job("known"), 1)
    estimator.observe_exchange(33 * MS)  # now a place would be free for longer than a task runs
    assert estimator.ahead > 0
    assert estimator.can_queue(job("known"), 1)


def test_concurrent_tasks_that_compute_wait_for_each_other() -> None:
    """Tasks of 5 ms that never wait run one after the other on an event loop, whatever the concurrency is."""
    estimator = estimator_of(5 * MS, concurrency=100, between_ends=5 * MS)
    assert estimator.ahead == 2
    assert estimator.can_queue(job("known"), 3)
    assert not estimator.can_queue(job("known"), 4)
