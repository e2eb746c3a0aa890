"""A supervisor stopped by SIGSTOP beyond the threshold: its tasks are killed before other workers recover them."""

import signal

import pytest

from horsies import TaskStatus
from horsies.codes import OperationalErrorCode
from tests.support.environment import Environment
from tests.support.sessions import scalar
from tests.support.waiting import wait_until
from tests.support.workers import lives

CRASHED = OperationalErrorCode.WORKER_CRASHED
IMPATIENT = {"TEST_STALE_MS": "3000", "TEST_HEARTBEAT_MS": "1000", "TEST_CHECK_MS": "1000"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("options", "task"), [("--processes=2", "wait_again"), ("--concurrency=2", "wait_again_async")]
)
def test_children_are_killed_before_their_tasks_are_recovered(
    environment: Environment, options: str, task: str
) -> None:
    gate = environment.folder / "gate"  # no attempt can end before this file exists, so the first two must be killed
    stopped = environment.ready_worker(options, **IMPATIENT)
    handles = [environment.send(task, key, str(gate)) for key in ("first", "second")]
    children = {environment.wait_for_note(key).pid for key in ("first", "second")}
    environment.ready_worker(options, TEST_CHECK_MS="1000")
    stopped.signal(signal.SIGSTOP)

    wait_until(lambda: sum(environment.counts().values()) > 2, 30, lambda: f"a second attempt: {environment.ledger()}")
    assert not any(lives(pid) for pid in children)
    wait_until(lambda: environment.counts() == {"first": 2, "second": 2}, 30, lambda: str(environment.ledger()))
    gate.touch()
    assert [handle.get(timeout_ms=30_000).ok_value for handle in handles] == ["first", "second"]
    assert environment.counts() == {"first": 2, "second": 2, "first:end": 1, "second:end": 1}
    assert all(entry.pid not in children for entry in environment.ledger()[2:])


def test_a_resumed_supervisor_takes_a_new_id_and_works(environment: Environment) -> None:
    stopped = environment.ready_worker("--processes=2", **IMPATIENT)
    old_id = scalar(environment.session, "select id from horsies.workers")
    failing = environment.send("sleep", "cut short", 60)
    environment.wait_for_note("cut short")
    helper = environment.ready_worker(**IMPATIENT)
    stopped.signal(signal.SIGSTOP)
    error = failing.get(timeout_ms=30_000).err_value
    assert error.error_code is CRASHED
    assert helper.stop() == 0

    stopped.signal(signal.SIGCONT)
    stopped.wait_for_log(r"worker\.fenced")
    assert environment.send("ok", "works on").get(timeout_ms=20_000).ok_value == "done works on"
    assert environment.worker_rows() == 1
    assert scalar(environment.session, "select id from horsies.workers") != old_id
    assert environment.counts()["cut short:end"] == 0
    assert stopped.stop() == 0


def test_an_outcome_that_comes_too_late_is_rejected(environment: Environment) -> None:
    """The task ends while its supervisor is stopped. Before the supervisor resumes, another worker recovers the task."""
    stopped = environment.ready_worker(**IMPATIENT)
    judged = environment.send("sleep", "judged", 0.5)
    environment.wait_for_note("judged")
    stopped.signal(signal.SIGSTOP)
    environment.wait_for_note("judged:end")
    helper = environment.ready_worker(**IMPATIENT)
    assert judged.get(timeout_ms=30_000).err_value.error_code is CRASHED
    assert helper.stop() == 0

    stopped.signal(signal.SIGCONT)
    stopped.wait_for_log(r"outcomes\.stale count=1")
    assert environment.send("ok", "works on").get(timeout_ms=20_000).is_ok()
    info = judged.info(include_attempts=True).unwrap()
    assert info is not None
    assert (info.status, info.error_code) == (TaskStatus.FAILED, CRASHED)
    assert info.attempts is not None
    assert len(info.attempts) == 1
    assert environment.counts()["judged"] == 1


def test_a_short_stop_changes_nothing(environment: Environment) -> None:
    worker = environment.ready_worker()
    task = environment.send("sleep", "undisturbed", 0.5)
    environment.wait_for_note("undisturbed")
    worker.signal(signal.SIGSTOP)
    environment.wait_for_note("undisturbed:end")
    worker.signal(signal.SIGCONT)
    assert task.get(timeout_ms=20_000).ok_value == "undisturbed"
    assert "fenced" not in worker.log()
    assert "stale" not in worker.log()
