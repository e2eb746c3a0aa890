"""Children are replaced after `--max-tasks-per-child` tasks, or above a memory limit, without affecting tasks."""

import resource
import sys
from collections import Counter

import psutil
import pytest

from tests.support.environment import Environment
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, lives

QUICK = 300


def tasks_by_child(environment: Environment) -> Counter[int]:
    return Counter(entry.pid for entry in environment.ledger() if not entry.key.endswith(":end"))


def recycled(worker: WorkerProcess, pid: int, reason: str) -> bool:
    return any(
        f" pid={pid} " in line and reason in line for line in worker.log().splitlines() if "child.recycled" in line
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("most", [1, 7])
@pytest.mark.parametrize("options", [["--processes=2"], ["--concurrency=3"]], ids=" ".join)
def test_no_child_runs_more_tasks_than_its_maximum(environment: Environment, options: list[str], most: int) -> None:
    keys = {f"quick-{number}" for number in range(20 * most)}
    handles = [environment.send("ok", key) for key in sorted(keys)]
    worker = environment.ready_worker(*options, f"--max-tasks-per-child={most}")
    assert all(handle.get(timeout_ms=60_000).is_ok() for handle in handles)

    assert environment.counts() == dict.fromkeys(keys, 1)
    by_child = tasks_by_child(environment)
    assert max(by_child.values()) == most
    full = {pid for pid, count in by_child.items() if count == most}
    assert len(by_child) <= 20 + 2
    wait_until(lambda: all(recycled(worker, pid, "--max-tasks-per-child") for pid in full), describe=worker.log)
    wait_until(lambda: not any(lives(pid) for pid in full), describe=worker.log)
    assert "child.died" not in worker.log()
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_a_slot_never_runs_two_tasks_although_the_next_child_is_there(environment: Environment) -> None:
    handles = [environment.send("sleep", f"nap-{number}", 0.1) for number in range(5)]
    worker = environment.ready_worker("--max-tasks-per-child=1")
    assert all(handle.get(timeout_ms=20_000).is_ok() for handle in handles)
    assert [entry.key.endswith(":end") for entry in environment.ledger()] == [False, True] * 5
    assert max(tasks_by_child(environment).values()) == 1

    environment.send("sleep", "long", 60)
    old = environment.wait_for_note("long").pid
    wait_until(lambda: len(worker.children()) == 2, describe="the next child, while the old one runs its last task")
    environment.send("ok", "behind")
    assert "behind" not in environment.counts()
    psutil.Process(old).kill()
    environment.wait_for_note("behind")
    environment.wait_until_all_ended()
    assert environment.ended()["sleep", "FAILED", "WORKER_CRASHED"] == 1
    wait_until(lambda: len(worker.children()) == 1, describe="the end of the child that ran what was behind")
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_a_long_last_task_leaves_the_other_slots_to_its_successors(environment: Environment) -> None:
    worker = environment.ready_worker("--concurrency=2", "--max-tasks-per-child=3")
    environment.send("sleep", "long", 60)
    old = environment.wait_for_note("long").pid
    keys = {f"quick-{number}" for number in range(30)}
    assert all(
        handle.get(timeout_ms=20_000).is_ok() for handle in [environment.send("ok", key) for key in sorted(keys)]
    )
    assert environment.live_tasks("RUNNING") == 1
    assert lives(old)
    assert max(tasks_by_child(environment).values()) == 3
    wait_until(lambda: len(worker.children()) == 2, describe="the end of all but the long one's child and the last one")
    worker.kill_all()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [["--processes=2"], ["--concurrency=3"]], ids=" ".join)
def test_a_child_with_too_much_memory_is_replaced_after_its_task(environment: Environment, options: list[str]) -> None:
    worker = environment.ready_worker(*options, "--max-memory-per-child-mb=250")
    assert environment.send("hog", "modest", 10).get(timeout_ms=20_000).ok_value == "modest"
    assert environment.send("hog", "greedy", 300).get(timeout_ms=20_000).ok_value == "greedy"
    greedy, modest = environment.wait_for_note("greedy").pid, environment.wait_for_note("modest").pid
    wait_until(lambda: recycled(worker, greedy, "it holds 3"), describe=worker.log)
    wait_until(lambda: not lives(greedy), describe=worker.log)
    assert environment.send("ok", "next").get(timeout_ms=20_000).is_ok()
    assert environment.wait_for_note("next").pid != greedy
    assert greedy == modest or not recycled(worker, modest, "")
    assert "child.died" not in worker.log()
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_tasks_that_wait_in_a_child_with_too_much_memory_run_elsewhere(environment: Environment) -> None:
    quick = [f"quick-{number}" for number in range(4 * QUICK)]
    for place, key in enumerate(quick):
        environment.send("ok", key)
        if place % QUICK == 0:
            environment.send("hog", f"hog-{place}", 300)
    worker = environment.ready_worker("--processes=2", "--max-memory-per-child-mb=250")
    environment.wait_until_all_ended(60)
    assert environment.counts() == dict.fromkeys([*quick, *(f"hog-{place}" for place in range(0, 4 * QUICK, QUICK))], 1)
    assert environment.ended() == {("ok", "COMPLETED", None): 4 * QUICK, ("hog", "COMPLETED", None): 4}
    attempts = environment.session.execute("select distinct attempt from horsies.history").fetchall()
    assert attempts == [(1,)]
    ledger = environment.ledger()
    for number, entry in enumerate(ledger):
        if entry.key.startswith("hog"):
            assert not any(later.pid == entry.pid for later in ledger[number + 1 :])
    assert "child.died" not in worker.log()
    assert worker.stop() == 0


def test_a_child_that_does_not_exit_is_killed(environment: Environment) -> None:
    worker = environment.ready_worker("--max-tasks-per-child=1")
    assert environment.send("clingy", "clingy").get(timeout_ms=20_000).is_ok()
    clingy = environment.wait_for_note("clingy").pid
    assert environment.send("ok", "next").get(timeout_ms=20_000).is_ok()
    wait_until(lambda: not lives(clingy), describe=worker.log)
    worker.wait_for_log(r'child\.exit_timed_out step="closing the event loop"')
    assert environment.ended()["clingy", "COMPLETED", None] == 1
    assert worker.stop() == 0


def test_a_last_task_may_end_while_the_worker_stops(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2", "--max-tasks-per-child=1")
    last = environment.send("sleep", "last", 1.5)
    environment.wait_for_note("last")
    assert worker.stop() == 0
    worker.assert_gone()
    assert last.get(timeout_ms=5_000).ok_value == "last"


def test_a_last_task_can_run_too_long(environment: Environment) -> None:
    worker = environment.ready_worker("--max-tasks-per-child=1")
    assert str(environment.send("slow", "slow").get(timeout_ms=20_000).err_value.error_code) == "TASK_TIMEOUT"
    assert environment.send("ok", "next").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux only")
def test_a_worker_that_can_start_no_more_children_ends_with_a_reason(environment: Environment) -> None:
    worker = environment.ready_worker()
    psutil.Process(worker.pid).rlimit(resource.RLIMIT_NOFILE, (8, 8))
    environment.send("kill", "deadly")
    worker.wait_for_log("Too many open files")
    assert worker.wait() == 1
