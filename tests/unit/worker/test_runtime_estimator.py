"""Run times, and the tasks that may wait behind quick ones."""

from uuid import UUID

from horsies.db.queries.worker import Fence
from horsies.worker.ipc import Job
from horsies.worker.runtime_estimator import MAX_AHEAD_TASKS, RuntimeEstimator

QUICK_S = 20e-6


def job(name: str) -> Job:
    return Job(Fence(UUID(int=1), 1), 1, name, "default", b"{}", None, False, False, b"")


def test_no_task_waits_behind_a_task_with_an_unknown_run_time() -> None:
    estimator = RuntimeEstimator()
    assert estimator.ahead == 0
    estimator.observe("known", QUICK_S)
    assert estimator.ahead == MAX_AHEAD_TASKS
    assert estimator.can_queue(job("known"), 1)
    assert not estimator.can_queue(job("unknown"), 1)


def test_one_task_that_was_interrupted_leaves_the_others_quick() -> None:
    estimator = RuntimeEstimator()
    for _ in range(50):
        estimator.observe("quick", QUICK_S)
    estimator.observe("quick", 0.5)
    assert estimator.ahead == MAX_AHEAD_TASKS
    assert estimator.can_queue(job("quick"), MAX_AHEAD_TASKS)  # behind the one that runs and all that wait
    assert not estimator.can_queue(job("quick"), MAX_AHEAD_TASKS + 1)


def test_all_tasks_of_the_largest_claim_find_a_place_in_a_child() -> None:
    """A worker claims ``1 + ahead`` tasks for an idle child. It must not return some of them to the queue."""
    estimator = RuntimeEstimator()
    estimator.observe("quick", QUICK_S)
    assert all(estimator.can_queue(job("quick"), behind) for behind in range(1, 1 + estimator.ahead))


def test_tasks_that_have_become_slow_are_soon_known_to_be() -> None:
    estimator = RuntimeEstimator()
    for _ in range(50):
        estimator.observe("task", QUICK_S)
    looks = 0
    while estimator.can_queue(job("task"), 1):
        estimator.observe("task", 0.5)
        looks += 1
    assert 1 < looks < 30
    assert estimator.ahead < 2
