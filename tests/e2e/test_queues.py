"""Caps, pauses and prefetching with real workers. No worker polls here: notices announce free places.

The tasks themselves write the ledger, one line before and one after their work. So the ledger never shows more running
tasks than there were.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from horsies import TaskHandle
from tests.support.environment import load_tasks
from tests.support.factories import cap_queue, pause_queue
from tests.support.pooler import pooled_variables
from tests.support.sessions import Session, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

TASKS = Path(__file__).with_name("queue_tasks.py")
FULL = bool(os.environ.get("HORSIES_FULL_SCALE"))
WORKERS, CHILDREN, COUNT, SECONDS = (4, 8, 3000, 0.05) if FULL else (3, 3, 240, 0.02)
CAP = 5


class Stage:
    """A producer and any number of workers with the same environment."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        shutil.copy(TASKS, folder)
        self.folder, self._url, self._stack = folder, url, stack
        self.ledger_file = folder / "ledger"
        self.session: Session = stack.enter_context(open_session(url))
        self.env: dict[str, str] = {**pooled_variables(url), "TEST_LEDGER": str(self.ledger_file)}

    def set(self, caps: dict[str, int | None] | None = None, **config: Any) -> ModuleType:
        """Set the configuration of the app; return the producer's copy of its module."""
        self.env["TEST_CAPS"] = json.dumps({"a": None, "b": None, "c": None} | (caps or {}))
        self.env["TEST_CONFIG"] = json.dumps(config)
        tasks = load_tasks(self.folder / TASKS.name, self.env)
        self._stack.callback(tasks.app.close)
        return tasks

    def worker(self, *args: str) -> WorkerProcess:
        worker = WorkerProcess(["worker", "queue_tasks:app", *args], self.folder, self.env)
        self._stack.callback(worker.assert_gone)
        self._stack.callback(worker.kill_all)
        return worker

    def ready_worker(self, *args: str) -> WorkerProcess:
        worker = self.worker(*args)
        worker.wait_until_ready()
        return worker

    def ledger(self) -> list[tuple[str, str, str]]:
        """Return the sign, the queue and the key of each line."""
        if not self.ledger_file.exists():
            return []
        lines = self.ledger_file.read_text().splitlines()
        return [(sign, queue, key) for sign, queue, key in (line.split(" ", 2) for line in lines)]

    def started(self) -> list[str]:
        return [key for sign, _, key in self.ledger() if sign == "+"]

    def most_at_once(self, queues: str) -> int:
        most = now = 0
        for sign, queue, _ in self.ledger():
            now += (1 if sign == "+" else -1) * (queue in queues)
            most = max(most, now)
        return most

    def statuses(self) -> Counter[str]:
        return Counter(status for (status,) in self.session.execute("select status from horsies.tasks"))

    def wait_until_all_ended(self, timeout: float = 50) -> None:
        left = lambda: scalar(self.session, "select count(*) from horsies.tasks")  # noqa: E731
        wait_until(lambda: not left(), timeout, lambda: f"{left()} tasks to end")


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(database_url, tmp_path, stack)


@pytest.mark.timeout(400 if FULL else 60)
def test_a_cap_holds_across_workers_and_is_used_up(stage: Stage) -> None:
    tasks = stage.set({"a": CAP})
    for number in range(COUNT):
        tasks.in_a.send(str(number), SECONDS).unwrap()
    workers = [stage.worker(f"--processes={CHILDREN}") for _ in range(WORKERS)]
    stage.wait_until_all_ended(50 if not FULL else 300)
    assert stage.most_at_once("a") == CAP
    assert sorted(map(int, stage.started())) == list(range(COUNT))
    assert [worker.stop() for worker in workers] == [0] * WORKERS


@pytest.mark.timeout(400 if FULL else 60)
def test_the_cluster_s_cap_holds_over_queues_and_workers(stage: Stage) -> None:
    tasks = stage.set({"c": 2}, cluster_wide_cap=CAP)
    for number in range(COUNT):
        (tasks.in_a, tasks.in_b, tasks.in_c)[number % 3].send(str(number), SECONDS).unwrap()
    for _ in range(WORKERS):
        stage.worker(f"--processes={CHILDREN}")
    stage.wait_until_all_ended(50 if not FULL else 300)
    assert stage.most_at_once("abc") == CAP
    assert stage.most_at_once("c") <= 2
    assert sorted(map(int, stage.started())) == list(range(COUNT))


def test_quick_tasks_of_a_capped_queue_do_not_wait_in_children(stage: Stage) -> None:
    """The worker knows that the tasks are quick. Nevertheless it must not queue tasks of a capped queue in children."""
    tasks = stage.set({"a": 1})
    stage.ready_worker("--processes=2")
    for number in range(50):
        tasks.in_b.send(f"warm {number}").unwrap()
    stage.wait_until_all_ended()
    for number in range(50):
        (tasks.in_a if number % 2 else tasks.in_b).send(str(number)).unwrap()
    stage.wait_until_all_ended()
    assert stage.most_at_once("a") == 1
    assert scalar(stage.session, "select count(*) from horsies.history where error_code is null") == 100


def test_a_worker_that_frees_room_wakes_the_others(stage: Stage) -> None:
    """The worker that ends the task cannot use the room, because it does not know the name of the waiting task."""
    tasks = stage.set({"a": 1})
    stage.ready_worker("--queues=a")
    first = tasks.in_a.send("first", 0.5).unwrap()
    wait_until(lambda: stage.started() == ["first"])
    foreign = stage.folder / "foreign_tasks.py"
    source = TASKS.read_text().replace('"in_a"', '"in_a_too"').replace('"queue_tasks"', '"foreign_tasks"')
    foreign.write_text(source)
    others = WorkerProcess(["worker", "foreign_tasks:app"], stage.folder, stage.env)
    try:
        others.wait_until_ready()
        waiting = load_tasks(foreign, stage.env)
        second = waiting.in_a.send("second").unwrap()
        assert first.get(timeout_ms=10_000).is_ok()
        assert second.get(timeout_ms=10_000).is_ok()
        waiting.app.close()
    finally:
        others.kill_all()
    assert stage.most_at_once("a") == 1


def test_a_cap_that_is_removed_while_it_is_full_releases_the_waiting_tasks(stage: Stage) -> None:
    tasks = stage.set({"a": 0})
    stage.ready_worker()
    handle = tasks.in_a.send("waits").unwrap()
    assert tasks.in_b.send("continues").unwrap().get(timeout_ms=10_000).is_ok()
    assert stage.started() == ["continues"]
    cap_queue(stage.session, "a", 1)
    stage.session.execute("select horsies.notify_wake()")
    assert handle.get(timeout_ms=10_000).ok_value == "a"


def test_a_task_knows_the_queue_of_its_row(stage: Stage) -> None:
    """The task was sent before its definition moved to another queue."""
    tasks = stage.set()
    pause_queue(stage.session, "a")
    handle = tasks.in_a.send("moved").unwrap()
    stage.session.execute("update horsies.tasks set queue = 'b'")
    stage.ready_worker()
    assert handle.get(timeout_ms=10_000).ok_value == "b"


def test_an_old_and_a_new_worker_share_a_queue_and_each_takes_the_tasks_it_knows(stage: Stage) -> None:
    old = stage.set()
    stage.ready_worker()
    new = stage.folder / "new_tasks.py"
    new.write_text(TASKS.read_text().replace('"in_b"', '"in_b_new"').replace('"queue_tasks"', '"new_tasks"'))
    tasks = load_tasks(new, stage.env)
    fresh = tasks.in_b.send("new").unwrap()
    known = [old.in_b.send("old").unwrap(), old.in_a.send("both").unwrap()]
    assert all(handle.get(timeout_ms=10_000).is_ok() for handle in known)
    assert stage.statuses() == Counter(PENDING=1)
    worker = WorkerProcess(["worker", "new_tasks:app"], stage.folder, stage.env)
    try:
        assert fresh.get(timeout_ms=20_000).is_ok()
    finally:
        worker.kill_all()
        tasks.app.close()


def test_a_task_whose_signature_changed_under_it_fails_and_names_the_parameter(stage: Stage) -> None:
    handle = stage.set().in_a.send("sent before").unwrap()
    file = stage.folder / TASKS.name
    changed = "def in_a(token: str, seconds: float = 0) -> Text:\n    return work(token, seconds)"
    file.write_text(
        file.read_text().replace(
            "def in_a(key: str, seconds: float = 0) -> Text:\n    return work(key, seconds)", changed
        )
    )
    stage.ready_worker()
    error = handle.get(timeout_ms=10_000).err_value
    assert error.error_code == "WORKER_SERIALIZATION_ERROR"
    assert error.message is not None
    assert "token" in error.message or "key" in error.message
    assert stage.started() == []


PREFETCHING = {"prefetch_buffer": 3, "claim_lease_ms": 60_000}


def test_prefetched_tasks_wait_claimed_and_run_in_order(stage: Stage) -> None:
    tasks = stage.set(**PREFETCHING)
    stage.ready_worker()
    for number in range(8):
        tasks.in_a.send(str(number), 0.3).unwrap()
    wait_until(
        lambda: stage.statuses() == Counter(RUNNING=1, CLAIMED=3, PENDING=4), describe=lambda: f"{stage.statuses()}"
    )
    stage.wait_until_all_ended()
    assert stage.started() == [str(number) for number in range(8)]
    attempts = scalar(stage.session, "select array_agg(distinct attempt) from horsies.history")
    assert attempts == [1]


def test_a_stop_returns_prefetched_tasks_to_the_queue(stage: Stage) -> None:
    tasks = stage.set(**PREFETCHING)
    worker = stage.ready_worker()
    handles = [tasks.in_a.send(str(number), 1).unwrap() for number in range(4)]
    wait_until(lambda: stage.statuses()["CLAIMED"] == 3 and stage.started() == ["0"])
    assert worker.stop() == 0
    assert stage.statuses() == Counter(PENDING=3)
    assert handles[0].get().is_ok()
    assert scalar(stage.session, "select sum(attempt + worker_deaths) from horsies.tasks") == 0


def test_a_cancelled_or_overdue_prefetched_task_does_not_start(stage: Stage) -> None:
    tasks = stage.set(**PREFETCHING)
    stage.ready_worker()
    running, doomed, last = (tasks.in_a.send(key, 0.5).unwrap() for key in ("running", "doomed", "last"))
    wait_until(lambda: stage.statuses()["CLAIMED"] == 2)
    assert doomed.cancel().unwrap() is True
    assert last.get(timeout_ms=10_000).is_ok()
    assert running.get().is_ok()
    assert stage.started() == ["running", "last"]


def test_another_worker_takes_the_prefetched_tasks_of_a_dead_one(stage: Stage) -> None:
    tasks = stage.set(prefetch_buffer=2, claim_lease_ms=1_000, recovery={"claimer_heartbeat_interval_ms": 1_000})
    first = stage.ready_worker()
    tasks.in_a.send("long", 4).unwrap()
    wait_until(lambda: stage.started() == ["long"])
    short = tasks.in_a.send("short").unwrap()
    wait_until(lambda: stage.statuses()["CLAIMED"] == 1)
    holder = holder_of(stage.session, short)
    first.kill_all()  # including its fork server, so that nobody reports the death
    stage.set(recovery={"check_interval_ms": 1_000})
    stage.ready_worker()
    assert short.get(timeout_ms=10_000).is_ok()
    assert scalar(stage.session, "select worker_id from horsies.history where id = %s", short.task_id) != holder


def test_a_lease_is_renewed_while_its_worker_lives(stage: Stage) -> None:
    recovery = {"check_interval_ms": 1_000, "claimer_heartbeat_interval_ms": 1_000}
    tasks = stage.set(prefetch_buffer=2, claim_lease_ms=1_000, recovery=recovery)
    stage.ready_worker()
    tasks.in_a.send("long", 3).unwrap()
    wait_until(lambda: stage.started() == ["long"])
    short = tasks.in_a.send("short").unwrap()
    wait_until(lambda: stage.statuses()["CLAIMED"] == 1)
    number = scalar(stage.session, "select exchange_no from horsies.tasks where id = %s", short.task_id)
    assert short.get(timeout_ms=10_000).is_ok()
    assert scalar(stage.session, "select exchange_no from horsies.history where id = %s", short.task_id) == number


def test_a_later_due_time_does_not_delay_an_earlier_one(stage: Stage) -> None:
    """Both claims of an exchange report when the next task is due. Tasks of a capped queue are not prefetched."""
    tasks = stage.set({"a": 1}, **PREFETCHING)
    stage.ready_worker()
    assert tasks.in_a.send("before").unwrap().get(timeout_ms=10_000).is_ok()
    soon = tasks.in_a.schedule(1.5, "soon").unwrap()
    tasks.in_b.schedule(60, "later").unwrap()
    assert soon.get(timeout_ms=10_000).is_ok()


def holder_of(session: Session, handle: TaskHandle[Any]) -> UUID:
    return scalar(session, "select worker_id from horsies.tasks where id = %s", handle.task_id)
