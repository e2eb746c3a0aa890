"""A stranger's transaction holds rows of the queue: the worker continues with everything else."""

import signal

import pytest

from tests.support.environment import Environment
from tests.support.sessions import Session, open_session

LOCK = b"select from horsies.tasks where id = %s for update"


@pytest.fixture
def stranger(environment: Environment) -> Session:
    session = open_session(environment.url)
    environment.at_end(session.close)
    session.execute("set application_name = 'nightly report'")
    return session


def test_a_held_row_stops_neither_claims_nor_other_outcomes(environment: Environment, stranger: Session) -> None:
    worker = environment.ready_worker("--processes=2")
    held = environment.send("sleep", "held", 1)
    environment.wait_for_note("held")
    with stranger.transaction():
        stranger.execute(LOCK, (held.task_id,))
        environment.wait_for_note("held:end")
        others = [environment.send("ok", f"task-{n}") for n in range(20)]
        assert [handle.get(timeout_ms=20_000).ok_value for handle in others] == [f"done task-{n}" for n in range(20)]
        found = worker.wait_for_log(r"outcomes\.blocked.*", timeout=40)[0]
        assert held.task_id in found
        assert f"process {stranger.info.backend_pid} (nightly report, user " in found
        assert "idle in transaction" in found
        assert environment.live_tasks("RUNNING") == 1
    assert held.get(timeout_ms=20_000).ok_value == "held"
    assert environment.counts()["held"] == 1
    assert worker.stop() == 0


def test_a_worker_that_stops_waits_for_a_held_row(environment: Environment, stranger: Session) -> None:
    worker = environment.ready_worker()
    held = environment.send("sleep", "held", 1)
    environment.wait_for_note("held")
    with stranger.transaction():
        stranger.execute(LOCK, (held.task_id,))
        worker.signal(signal.SIGTERM)
        environment.wait_for_note("held:end")
        worker.wait_for_log(r"worker\.stopping")
    assert worker.wait() == 0
    assert held.get(timeout_ms=20_000).ok_value == "held"
