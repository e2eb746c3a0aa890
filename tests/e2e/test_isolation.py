"""A cancellation or a time-out ends one attempt, and never another task in the same child."""

import random
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from horsies import OutcomeCode, TaskHandle, TaskStatus
from horsies.codes import OperationalErrorCode
from tests.support.environment import Environment, load_tasks
from tests.support.pooler import pooled_variables
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, lives

TASKS = Path(__file__).with_name("stop_tasks.py")
LOCAL_TASKS = 160
LONG_S = 12.0
CANCELLED, TIMED_OUT = OutcomeCode.TASK_CANCELLED, OutcomeCode.TASK_TIMEOUT
HOW = pytest.mark.parametrize("how", ["--concurrency=1", "--concurrency=3"])


@pytest.fixture
def stage(environment: Environment) -> Iterator[Environment]:
    """Yield an environment with the tasks of ``stop_tasks``."""
    shutil.copy(TASKS, environment.folder)
    environment.tasks = load_tasks(environment.folder / TASKS.name, pooled_variables(environment.url))
    yield environment
    environment.tasks.app.close()


def ready_worker(stage: Environment, *options: str) -> WorkerProcess:
    worker = stage.worker(*options, app="stop_tasks:app")
    worker.wait_until_ready()
    return worker


def release(stage: Environment, key: str) -> None:
    """Release a task that waits for its file."""
    (stage.folder / f"{key}.go").touch()


def running(stage: Environment, task: str, key: str) -> TaskHandle[Any]:
    """Send a task and wait until its code has started."""
    handle = stage.send(task, key)
    stage.wait_for_note(key)
    return handle


def code_of(handle: TaskHandle[Any], timeout_ms: int = 20_000) -> object:
    return handle.get(timeout_ms=timeout_ms).err_value.error_code


def check_only_deliberate_ends(worker: WorkerProcess) -> None:
    assert worker.stop() == 0
    assert "child.died" not in worker.log()
    assert "Traceback" not in worker.log()


@HOW
def test_a_cancelled_async_task_ends_and_its_child_continues(stage: Environment, how: str) -> None:
    worker = ready_worker(stage, how)
    doomed = running(stage, "polite", "doomed")
    assert doomed.cancel().unwrap() is True
    pid = stage.wait_for_note("doomed:cancelled").pid
    assert code_of(doomed) is CANCELLED
    after = running(stage, "hold", "after")
    release(stage, "after")
    assert after.get(timeout_ms=20_000).ok_value == "after"
    assert stage.wait_for_note("after").pid == pid
    worker.wait_for_log(rf"INFO task\.cancelled .*id={doomed.task_id} ")
    assert "task.failed" not in worker.log()
    assert "stale" not in worker.log()
    assert "child.killed" not in worker.log()
    check_only_deliberate_ends(worker)


@HOW
@pytest.mark.parametrize("task", ["stubborn", "hold_def"])
def test_a_task_that_can_not_be_stopped_is_killed_once_it_is_alone(stage: Environment, how: str, task: str) -> None:
    worker = ready_worker(stage, how)
    doomed = running(stage, task, "doomed")
    pid = stage.wait_for_note("doomed").pid
    assert doomed.cancel().unwrap() is True
    worker.wait_for_log(rf"child\.killed slot=0 pid={pid} reason=\"task {task} was cancelled\"")
    assert not lives(pid)
    assert code_of(doomed) is CANCELLED
    check_only_deliberate_ends(worker)


@pytest.mark.parametrize("task", ["stubborn", "hold_def", "late_stubborn", "late_def"])
def test_a_task_that_can_not_be_stopped_only_keeps_new_work_from_its_child(stage: Environment, task: str) -> None:
    worker = ready_worker(stage, "--concurrency=3")
    local_workers = [running(stage, name, name) for name in ("hold", "hold_def")]
    doomed = running(stage, task, "doomed")
    old = stage.wait_for_note("doomed").pid
    if not task.startswith("late"):
        assert doomed.cancel().unwrap() is True
    worker.wait_for_log(rf"task\.stop_delayed task={task} .*pid={old} running=2")
    after = running(stage, "hold", "after")
    assert stage.wait_for_note("after").pid != old
    release(stage, "after")
    assert after.get(timeout_ms=20_000).is_ok()

    for other, name in zip(local_workers, ("hold", "hold_def"), strict=True):
        assert lives(old)
        release(stage, name)
        assert other.get(timeout_ms=20_000).ok_value == name
    worker.wait_for_log(rf"child\.killed slot=0 pid={old} reason=\"task {task} ")
    error = doomed.get(timeout_ms=20_000).err_value
    if task.startswith("late"):
        assert error.error_code is TIMED_OUT
        assert error.message == f"task {task} ran longer than 300 ms"
    else:
        assert error.error_code is CANCELLED
    check_only_deliberate_ends(worker)


@pytest.mark.timeout(180)
def test_among_many_concurrent_tasks_only_the_stopped_ones_end(stage: Environment) -> None:
    rng = random.Random(13)  # noqa: S311 - no secrets
    doomed: dict[str, TaskHandle[Any]] = {}
    kinds = ["polite", "stubborn", "hold_def", "late_polite", "late_stubborn", "late_def", "late_def", "hold_def"] * 5
    plan = [("nap", f"nap-{n}", LONG_S if n % 20 == 0 else rng.uniform(0.1, 2.0)) for n in range(LOCAL_TASKS)]
    plan += [(kind, f"{kind}-{n}", None) for n, kind in enumerate(kinds)]
    rng.shuffle(plan)
    worker = ready_worker(stage, "--processes=2", "--concurrency=20")
    for kind, key, seconds in plan:
        handle = stage.send(kind, key, *([] if seconds is None else [seconds]))
        if seconds is None:
            doomed[key] = handle
    to_cancel = {key for key in doomed if not key.startswith("late")}

    def cancel_what_has_begun() -> bool:
        for key in sorted(to_cancel & stage.counts().keys()):
            assert doomed[key].cancel().unwrap() is True
            to_cancel.discard(key)
        return not to_cancel

    wait_until(cancel_what_has_begun, 60, lambda: f"{to_cancel} to begin")
    stage.wait_until_all_ended(60)

    rows = stage.session.execute(
        "select task_name, status, error_code, attempt from horsies.history where task_name = 'nap'"
    ).fetchall()
    assert rows == [("nap", "COMPLETED", None, 1)] * LOCAL_TASKS
    ended = stage.ended()
    del ended["nap", "COMPLETED", None]
    assert ended == {
        ("polite", "CANCELLED", "TASK_CANCELLED"): 5,
        ("stubborn", "CANCELLED", "TASK_CANCELLED"): 5,
        ("hold_def", "CANCELLED", "TASK_CANCELLED"): 10,
        ("late_polite", "FAILED", "TASK_TIMEOUT"): 5,
        ("late_stubborn", "FAILED", "TASK_TIMEOUT"): 5,
        ("late_def", "FAILED", "TASK_TIMEOUT"): 10,
    }
    counts = stage.counts()
    assert {counts[key] for _, key, _ in plan} == {1}
    check_only_deliberate_ends(worker)


def test_a_retry_does_not_overlap_the_attempt_that_exceeded_its_timeout(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=2")
    other = running(stage, "hold", "other")
    retried = running(stage, "late_retried", "retried")
    worker.wait_for_log(r"task\.stop_delayed task=late_retried .*cause=timed_out")
    info = retried.info().unwrap()
    assert info is not None
    assert (info.status, info.retry_count) == (TaskStatus.RUNNING, 0)
    assert stage.counts()["retried"] == 1

    release(stage, "other")
    assert retried.get(timeout_ms=20_000).ok_value == "second time"
    assert other.get(timeout_ms=20_000).is_ok()
    first, second = (entry.pid for entry in stage.ledger() if entry.key == "retried")
    assert first != second
    assert not lives(first)
    check_only_deliberate_ends(worker)


def test_an_attempt_that_ends_after_its_timeout_has_exceeded_it_and_its_child_exits(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=2")
    other = running(stage, "hold", "other")
    late = running(stage, "late_def", "late")
    worker.wait_for_log(r"task\.stop_delayed task=late_def")
    release(stage, "late")
    assert code_of(late) is TIMED_OUT
    release(stage, "other")
    assert other.get(timeout_ms=20_000).is_ok()
    worker.wait_for_log(r"child\.recycled slot=0 .*reason=\"task late_def exceeded its time-out\"")
    assert "child.killed" not in worker.log()
    check_only_deliberate_ends(worker)


def test_a_def_task_in_a_thread_learns_at_once_that_it_is_cancelled(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=2")
    other = running(stage, "hold", "other")
    doomed = running(stage, "cooperative", "doomed")
    assert doomed.cancel().unwrap() is True
    stage.wait_for_note("doomed:end")
    release(stage, "other")
    assert other.get(timeout_ms=20_000).is_ok()
    worker.wait_for_log(r"child\.recycled")
    check_only_deliberate_ends(worker)


def test_jobs_behind_a_blocked_event_loop_run_in_another_child(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=8")
    blocking = running(stage, "late_blocking", "blocking")
    behind = [stage.send("hold", f"behind-{n}") for n in range(5)]
    for n in range(5):
        release(stage, f"behind-{n}")
    assert [handle.get(timeout_ms=20_000).ok_value for handle in behind] == [f"behind-{n}" for n in range(5)]
    assert code_of(blocking) is TIMED_OUT
    assert {count for key, count in stage.counts().items() if key.startswith("behind")} == {1}
    attempts = stage.session.execute("select distinct attempt from horsies.history").fetchall()
    assert attempts == [(1,)]
    check_only_deliberate_ends(worker)


@HOW
@pytest.mark.parametrize(
    ("cleanup", "kept"),
    [
        ("raises again", None),
        ("returns", None),
        ("fails", None),
        ("wraps", "RuntimeError"),
        ("finally", "OSError"),
        ("group", "ExceptionGroup"),
        ("exits", "SystemExit"),
    ],
)
def test_an_attempt_that_timed_out_fails_with_task_timeout_regardless_of_its_cleanup(
    stage: Environment, how: str, cleanup: str, kept: str | None
) -> None:
    worker = ready_worker(stage, how)
    handle = stage.send("cleanup_raises", cleanup, cleanup)
    error: Any = handle.get(timeout_ms=20_000).err_value
    assert error.error_code is TIMED_OUT
    assert error.message == "task cleanup_raises ran longer than 300 ms"
    assert (error.exception and error.exception["type"]) == kept
    info = handle.info().unwrap()
    assert info is not None
    assert info.retry_count == 1
    assert len({entry.pid for entry in stage.ledger()}) == 1
    check_only_deliberate_ends(worker)


@HOW
def test_an_exception_that_can_not_be_shown_does_not_hide_the_timeout(stage: Environment, how: str) -> None:
    worker = ready_worker(stage, how)
    assert code_of(stage.send("cleanup_raises", "unprintable", "unprintable")) is TIMED_OUT
    check_only_deliberate_ends(worker)


@HOW
def test_an_async_task_that_blocks_beyond_its_timeout_has_exceeded_it(stage: Environment, how: str) -> None:
    worker = ready_worker(stage, how)
    assert code_of(stage.send("blocks_and_returns", "blocking")) is TIMED_OUT
    check_only_deliberate_ends(worker)


def test_a_shutdown_waits_for_the_other_tasks_of_an_abandoned_attempt(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=2")
    other = running(stage, "hold", "other")
    doomed = running(stage, "hold_def", "doomed")
    assert doomed.cancel().unwrap() is True
    worker.wait_for_log(r"task\.stop_delayed")
    worker.signal(signal.SIGTERM)
    worker.wait_for_log(r"worker\.stopping")
    release(stage, "other")
    assert worker.wait() == 0
    assert other.get(timeout_ms=5_000).ok_value == "other"
    assert "child.died" not in worker.log()


def test_a_shutdown_timeout_fails_concurrent_tasks_with_a_reason(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=3", "--shutdown-timeout=0.5")
    other = running(stage, "hold", "other")
    cancelled = running(stage, "hold_def", "cancelled")
    late = running(stage, "late_def", "late")
    assert cancelled.cancel().unwrap() is True
    worker.wait_for_log(r"task\.stop_delayed task=hold_def")
    worker.wait_for_log(r"task\.stop_delayed task=late_def")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert code_of(other, 5_000) is OperationalErrorCode.WORKER_CRASHED
    assert code_of(late, 5_000) is TIMED_OUT
    assert code_of(cancelled, 5_000) is CANCELLED
    assert re.search(r"child\.killed .*the worker stops", worker.log())
    assert "child.died" not in worker.log()
    assert "stale" not in worker.log()


def test_a_child_that_is_recycled_can_have_a_task_that_can_not_be_stopped(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=2", "--max-tasks-per-child=2")
    other = running(stage, "hold", "other")
    doomed = running(stage, "hold_def", "doomed")
    old = stage.wait_for_note("doomed").pid
    wait_until(lambda: len(worker.children()) == 2, describe="the successor")
    assert doomed.cancel().unwrap() is True
    worker.wait_for_log(r"task\.stop_delayed")
    release(stage, "other")
    assert other.get(timeout_ms=20_000).is_ok()
    worker.wait_for_log(rf"child\.killed slot=0 pid={old} ")
    check_only_deliberate_ends(worker)


def test_the_slot_of_a_task_that_can_not_be_stopped_runs_as_many_others_as_before(stage: Environment) -> None:
    worker = ready_worker(stage, "--concurrency=2")
    other = running(stage, "hold", "other")
    doomed = running(stage, "hold_def", "doomed")
    assert doomed.cancel().unwrap() is True
    worker.wait_for_log(r"task\.stop_delayed")
    running(stage, "hold", "after")
    third = stage.send("hold", "third")
    assert "third" not in stage.counts()
    for key in ("other", "after", "third"):
        release(stage, key)
    assert other.get(timeout_ms=20_000).is_ok()
    assert third.get(timeout_ms=20_000).is_ok()
    check_only_deliberate_ends(worker)
