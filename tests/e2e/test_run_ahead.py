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


def quick_tasks(environment: Environment, name: str, count: int = QUICK) -> set[str]:
    keys = {f"{name}-{number}" for number in range(count)}
    for key in sorted(keys):
        environment.send("ok", key)
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
def test_a_stop_returns_tasks_that_wait_in_children_to_the_queue(environment: Environment) -> None:
    keys = quick_tasks(environment, "quick", 4 * QUICK)
    worker = environment.ready_worker("--processes=2")
    wait_until(lambda: len(environment.counts()) > QUICK, 60, "the first tasks to begin")
    assert worker.stop() == 0

    begun = environment.counts()
    assert set(begun.values()) == {1}
    assert environment.ended()["ok", "COMPLETED", None] == len(begun)
    assert environment.live_tasks("PENDING") == environment.live_tasks() == len(keys) - len(begun)
    untouched = environment.session.execute("select distinct attempt, worker_id from horsies.tasks").fetchall()
    assert untouched in ([], [(0, None)])

    environment.ready_worker("--processes=2")
    environment.wait_until_all_ended(60)
    assert environment.counts() == dict.fromkeys(keys, 1)
    assert attempts_of(environment, "ok") == {1}


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
