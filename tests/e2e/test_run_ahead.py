"""Quick tasks wait in their child, and none of them is lost, repeated or delayed."""

import pytest

from tests.support.environment import Environment
from tests.support.sessions import scalar
from tests.support.waiting import wait_until

QUICK = 500
LONGEST_PAUSE = """
    select extract(epoch from max(pause))
    from (select finished_at - lag(finished_at) over (order by finished_at) as pause from horsies.history) as pauses
"""


ONE_BY_ONE = ("ok", ["--processes=2"])
CONCURRENT = ("ok_async", ["--processes=2", "--concurrency=10"])


def quick_tasks(environment: Environment, name: str, count: int = QUICK, *, task: str = "ok") -> set[str]:
    keys = {f"{name}-{number}" for number in range(count)}
    for key in sorted(keys):
        environment.send(task, key)
    return keys


def attempts_of(environment: Environment, task: str) -> set[int]:
    return {
        attempt
        for (attempt,) in environment.session.execute(
            "select attempt from horsies.history where task_name = %s", (task,)
        )
    }


@pytest.mark.timeout(120)
def test_a_long_task_delays_no_quick_one(environment: Environment) -> None:
    keys = quick_tasks(environment, "before")
    environment.send("sleep", "long", 60.0)
    keys |= quick_tasks(environment, "after")
    worker = environment.ready_worker("--processes=2")

    wait_until(
        lambda: environment.ended()["ok", "COMPLETED", None] == len(keys),
        60,
        lambda: f"the quick ones: {environment.ended()}",
    )
    assert environment.live_tasks() == environment.live_tasks("RUNNING") == 1
    begun = environment.counts()
    assert begun.pop("long") == 1
    assert begun == dict.fromkeys(keys, 1)
    assert attempts_of(environment, "ok") == {1}
    assert scalar(environment.session, LONGEST_PAUSE) < 1.0  # 0.05 on an otherwise idle machine: benchmarks/run.py
    worker.kill_all()


@pytest.mark.timeout(120)
def test_several_long_tasks_among_quick_ones_block_no_more_than_their_own_children(environment: Environment) -> None:
    keys: set[str] = set()
    for number in range(3):
        keys |= quick_tasks(environment, f"part{number}", 300)
        environment.send("sleep", f"long-{number}", 60.0)
    keys |= quick_tasks(environment, "last", 300)
    worker = environment.ready_worker("--processes=4")

    wait_until(
        lambda: environment.ended()["ok", "COMPLETED", None] == len(keys),
        60,
        lambda: f"the quick ones: {environment.ended()}",
    )
    assert environment.counts() == dict.fromkeys([*keys, "long-0", "long-1", "long-2"], 1)
    worker.kill_all()


@pytest.mark.timeout(120)
def test_tasks_that_wait_behind_a_blocked_event_loop_run_elsewhere(environment: Environment) -> None:
    task, options = CONCURRENT
    keys = quick_tasks(environment, "before", task=task)
    environment.send("block_loop", "long", 60.0)
    keys |= quick_tasks(environment, "after", task=task)
    worker = environment.ready_worker(*options)

    begun_there = 9  # quick tasks that have begun in the child of the long one, at most
    wait_until(
        lambda: environment.ended()[task, "COMPLETED", None] >= len(keys) - begun_there,
        60,
        lambda: f"the quick ones: {environment.ended()}",
    )
    environment.wait_for_note("long")
    assert environment.live_tasks() <= 1 + begun_there
    assert set(environment.counts().values()) == {1}
    worker.kill_all()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("task", "options"), [ONE_BY_ONE, CONCURRENT])
def test_a_stop_returns_tasks_that_wait_in_children_to_the_queue(
    environment: Environment, task: str, options: list[str]
) -> None:
    keys = quick_tasks(environment, "quick", 4 * QUICK, task=task)
    worker = environment.ready_worker(*options)
    wait_until(lambda: len(environment.counts()) > QUICK, 60, "the first tasks to begin")
    assert worker.stop() == 0

    begun = environment.counts()
    assert set(begun.values()) == {1}
    assert environment.ended()[task, "COMPLETED", None] == len(begun)
    assert environment.live_tasks("PENDING") == environment.live_tasks() == len(keys) - len(begun)
    untouched = environment.session.execute("select distinct attempt, worker_id from horsies.tasks").fetchall()
    assert untouched in ([], [(0, None)])

    environment.ready_worker(*options)
    environment.wait_until_all_ended(60)
    assert environment.counts() == dict.fromkeys(keys, 1)
    assert attempts_of(environment, task) == {1}


@pytest.mark.timeout(120)
def test_tasks_that_wait_in_a_child_survive_its_death(environment: Environment) -> None:
    keys: set[str] = set()
    for number in range(10):
        keys |= quick_tasks(environment, f"part{number}", 150)
        environment.send("kill", f"deadly-{number}")
    worker = environment.ready_worker("--processes=2")
    environment.wait_until_all_ended(60)

    assert environment.ended() == {("ok", "COMPLETED", None): len(keys), ("kill", "FAILED", "WORKER_CRASHED"): 10}
    assert environment.counts() == dict.fromkeys([*keys, *(f"deadly-{number}" for number in range(10))], 1)
    assert attempts_of(environment, "ok") == {1}
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_tasks_that_wait_in_a_concurrent_child_survive_its_death(environment: Environment) -> None:
    task, options = CONCURRENT
    keys: set[str] = set()
    for number in range(10):
        keys |= quick_tasks(environment, f"part{number}", 150, task=task)
        environment.send("kill", f"deadly-{number}")
    worker = environment.ready_worker(*options)
    environment.wait_until_all_ended(60)

    ended = environment.ended()
    crashed = ended[task, "FAILED", "WORKER_CRASHED"]  # those that ran beside a deadly one
    assert ended["kill", "FAILED", "WORKER_CRASHED"] == 10
    assert crashed <= 9 * 10
    assert ended[task, "COMPLETED", None] == len(keys) - crashed
    assert set(environment.counts().values()) == {1}
    assert attempts_of(environment, task) == {1}
    assert worker.stop() == 0
