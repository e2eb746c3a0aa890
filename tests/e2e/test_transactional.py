"""Transactional tasks in real workers: the effect exists if and only if the task is COMPLETED."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from horsies import OutcomeCode, TaskResult, TaskStatus
from horsies.codes import OperationalErrorCode
from tests.support.environment import URL_VARIABLE, Environment, load_tasks
from tests.support.pooler import counts_sessions, keeps_statements
from tests.support.sessions import column, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

TASKS = Path(__file__).with_name("transactional_tasks.py")
KINDS = ["by_psycopg", "by_psycopg_async", "by_alchemy", "by_session", "by_alchemy_async", "by_session_async"]
EXCEPTION = OperationalErrorCode.TASK_EXCEPTION
EARLY = "committed or rolled back before the task ended"
FAILURES = {
    "err": ("NO", ""),
    "raise": ("UNHANDLED_EXCEPTION", "RuntimeError: raise"),
    "unencodable": ("RETURN_TYPE_MISMATCH", "does not fit its annotation"),
    "commit": ("UNHANDLED_EXCEPTION", "is committed by the worker, together with the outcome"),
    "sql commit": (EXCEPTION, EARLY),
    "sql rollback": (EXCEPTION, EARLY),
    "broken": (EXCEPTION, "use a savepoint for statements that may fail"),
    "deferred": ("DUPLICATE", "UniqueViolation"),
}


@pytest.fixture
def stage(environment: Environment) -> Iterator[Environment]:
    """Yield an environment with the tasks of ``transactional_tasks`` and the table of their effects."""
    shutil.copy(TASKS, environment.folder)
    environment.tasks = load_tasks(environment.folder / TASKS.name, {URL_VARIABLE: environment.url})
    environment.session.execute(
        "create table effects (key text primary key, slot int unique deferrable initially deferred)"
    )
    environment.session.execute("grant all on effects to public")
    yield environment
    environment.tasks.app.close()


def ready_worker(stage: Environment, *options: str) -> WorkerProcess:
    worker = stage.worker(*options, app="transactional_tasks:app")
    worker.wait_until_ready()
    return worker


def effects(stage: Environment) -> list[str]:
    return column(stage.session, "select key from effects order by key")


@pytest.mark.parametrize("kind", KINDS)
def test_the_effect_is_committed_with_the_outcome_and_only_then(stage: Environment, kind: str) -> None:
    worker = ready_worker(stage, "--concurrency=1" if kind in KINDS[:4] else "--concurrency=3")
    good = {how: stage.send(kind, f"{how} effect", how) for how in ("ok", "progress", "leak")}
    bad = {how: stage.send(kind, f"{how} effect", how) for how in FAILURES}
    for how, handle in good.items():
        assert handle.get(timeout_ms=20_000) == TaskResult(ok=f"{how} effect")
    for how, (code, message) in FAILURES.items():
        error = bad[how].get(timeout_ms=20_000).err_value
        assert (how, error.error_code) == (how, code)
        assert message in str(error.message)
    expected = [f"{how} effect" for how in [*good, "sql commit"]]
    assert effects(stage) == sorted(expected)  # what the task has committed itself stays committed
    assert good["progress"].info().unwrap().progress == {"done": 0.5, "total": 1, "note": None}
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()
    assert "stale" not in worker.log()


def test_a_refused_commit_is_retried_by_the_policy(stage: Environment) -> None:
    ready_worker(stage)
    handle = stage.send("again", "retried")
    assert handle.get(timeout_ms=20_000).ok_value == "retried"
    assert [each.attempt for each in handle.info(include_attempts=True).unwrap().attempts] == [2, 1]
    assert effects(stage) == ["retried"]


def test_attempts_do_not_see_the_session_of_earlier_ones(stage: Environment) -> None:
    ready_worker(stage, "--processes=1")
    first, second = ([*stage.send("settings").get(timeout_ms=20_000).ok_value] for _ in range(2))
    assert first == second
    assert first[1:] == ["read committed", "2s" if stage.session.info.server_version >= 140_000 else "", "0"]
    stage.session.execute("select pg_advisory_lock(7)")  # nobody holds it any more


@pytest.mark.parametrize("kind", ["unused", "unused_session", "unused_async"])
def test_a_task_may_leave_its_connection_unused(stage: Environment, kind: str) -> None:
    """Nothing is sent before such a task runs, but tasks before and after it are as separate as others."""
    ready_worker(stage, "--processes=1")
    first = [*stage.send("settings").get(timeout_ms=20_000).ok_value]
    handles = [stage.send(kind, how) for how in ("ok", "ok", "raise", "ok", "err", "ok")]
    found = [handle.get(timeout_ms=20_000) for handle in handles]
    assert ["ok" if each.is_ok() else str(each.err_value.error_code) for each in found] == [
        "ok",
        "ok",
        "UNHANDLED_EXCEPTION",
        "ok",
        "NO",
        "ok",
    ]
    assert [*stage.send("settings").get(timeout_ms=20_000).ok_value] == first
    assert stage.send("by_psycopg", "after", "ok").get(timeout_ms=20_000).is_ok()
    assert effects(stage) == ["after"]


@counts_sessions
@pytest.mark.parametrize("before", ["unused", "by_psycopg"])
def test_a_connection_that_the_server_has_closed_fails_no_task(stage: Environment, before: str) -> None:
    ready_worker(stage, "--processes=1")
    for turn in range(3):
        handle = stage.send("unused", "ok") if before == "unused" else stage.send("by_psycopg", f"before {turn}", "ok")
        assert handle.get(timeout_ms=20_000).is_ok()
        of_tasks = "select pid from pg_stat_activity where query ~ 'pg_advisory_unlock_all|commit' and datname ="
        pids = column(stage.session, f"{of_tasks} current_database() and state = 'idle'")
        assert pids
        for pid in pids:
            stage.session.execute("select pg_terminate_backend(%s)", (pid,))
            wait_until(lambda pid=pid: not column(stage.session, "select 1 from pg_stat_activity where pid = %s", pid))
        assert stage.send("by_psycopg", f"after {turn}", "ok").get(timeout_ms=20_000).is_ok()
    assert [key for key in effects(stage) if key.startswith("after")] == [f"after {turn}" for turn in range(3)]


def test_a_task_past_its_time_out_leaves_nothing(stage: Environment) -> None:
    ready_worker(stage, "--processes=1")
    handle = stage.send("hold", "late")
    assert handle.get(timeout_ms=20_000).err_value.error_code is OutcomeCode.TASK_TIMEOUT
    assert effects(stage) == []


def test_the_time_out_does_not_limit_the_commit(stage: Environment) -> None:
    """A lock delays the end of two transactions until the time-out of their tasks has passed."""
    worker = ready_worker(stage, "--processes=2")
    handles = {key: stage.send(key, key) for key in ("hold_briefly", "hold_briefly_async")}
    pids = {stage.wait_for_note(key).pid for key in handles}
    with open_session(stage.url) as holder, holder.transaction():
        holder.execute("select from horsies.tasks for update")
        for key in handles:
            (stage.folder / f"{key}.go").touch()
        waits_for_longer = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'finish_own'"
            " and clock_timestamp() - query_start > '3 s'"
        )
        wait_until(lambda: scalar(stage.session, waits_for_longer) == 2)
    assert {key: handle.get(timeout_ms=20_000).ok_value for key, handle in handles.items()} == {
        key: key for key in handles
    }
    assert effects(stage) == sorted(handles)
    assert pids == {each.pid for each in worker.children()}
    assert "child.killed" not in worker.log()


def test_the_exception_of_a_refused_write(stage: Environment) -> None:
    """The statement or the flush raises the error of the library; at the commit, it is that of psycopg."""
    ready_worker(stage)
    for handle in [stage.send(kind, kind, "ok") for kind in KINDS]:
        assert handle.get(timeout_ms=20_000).is_ok()
    refused = {kind: stage.send(kind, kind, "ok") for kind in KINDS}
    deferred = {kind: stage.send(kind, f"{kind} deferred", "deferred") for kind in KINDS}
    for kind in KINDS:
        by_psycopg = kind.startswith("by_psycopg")
        error = refused[kind].get(timeout_ms=20_000).err_value
        assert error.error_code == ("DUPLICATE" if by_psycopg else "UNHANDLED_EXCEPTION")
        assert str(error.message).startswith(
            "psycopg.errors.UniqueViolation: " if by_psycopg else "sqlalchemy.exc.IntegrityError: "
        )
        error = deferred[kind].get(timeout_ms=20_000).err_value
        assert error.error_code == "DUPLICATE"
        assert str(error.message).startswith("psycopg.errors.UniqueViolation: ")
    assert effects(stage) == sorted(KINDS)


@pytest.mark.parametrize("options", [["--processes=1"], ["--processes=1", "--concurrency=2"]], ids=" ".join)
def test_a_cancelled_task_leaves_nothing_and_its_child_continues(stage: Environment, options: list[str]) -> None:
    ready_worker(stage, *options)
    handle = stage.send("hold_async", "cancelled")
    stage.wait_for_note("cancelled")
    assert handle.cancel().unwrap() is True
    assert handle.get(timeout_ms=20_000).err_value.error_code is OutcomeCode.TASK_CANCELLED
    assert stage.send("by_psycopg", "next", "ok").get(timeout_ms=20_000).ok_value == "next"
    assert effects(stage) == ["next"]


def test_a_killed_child_leaves_nothing(stage: Environment) -> None:
    worker = ready_worker(stage, "--processes=1")
    handle = stage.send("hold_async", "killed")
    psutil.Process(stage.wait_for_note("killed").pid).send_signal(signal.SIGKILL)
    assert handle.get(timeout_ms=20_000).err_value.error_code is OperationalErrorCode.WORKER_CRASHED
    assert effects(stage) == []
    assert "superseded" not in worker.log()


def test_a_send_inside_is_part_of_the_transaction(stage: Environment) -> None:
    ready_worker(stage)
    sent = stage.send("sends", "sent", "ok").get(timeout_ms=20_000).ok_value
    assert stage.tasks.plain.handle(sent).get(timeout_ms=20_000).ok_value == "sent"
    assert stage.send("sends", "unsent", "err").get(timeout_ms=20_000).is_err()
    unsent = (stage.folder / "unsent.id").read_text()
    assert stage.tasks.plain.handle(unsent).info().unwrap() is None


@keeps_statements
def test_a_child_that_dies_between_commit_and_done_has_completed_its_task(stage: Environment) -> None:
    """A lock holds the server process up, so that the child can be killed before it receives the answer."""
    worker = ready_worker(stage, "--processes=1")
    handle = stage.send("hold_async", "superseded")
    pid = stage.wait_for_note("superseded").pid
    with open_session(stage.url) as holder, holder.transaction():
        holder.execute("select from horsies.tasks where id = %s for update", (handle.task_id,))
        (stage.folder / "superseded.go").touch()
        waiting = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'finish_own')"
        wait_until(lambda: scalar(stage.session, waiting))
        psutil.Process(pid).send_signal(signal.SIGKILL)
        worker.wait_for_log("child.died")
    assert handle.get(timeout_ms=20_000).ok_value == "superseded"
    assert handle.info().unwrap().status is TaskStatus.COMPLETED
    assert effects(stage) == ["superseded"]
    assert worker.stop() == 0
    assert "outcomes.stale" not in worker.log()
    assert "task.failed" not in worker.log()
