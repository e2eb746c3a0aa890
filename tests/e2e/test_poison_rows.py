"""Rows at which a claim fails: they end, and the worker goes on with the others."""

from horsies import TaskStatus
from tests.support.environment import Environment
from tests.support.sessions import open_session


def test_a_worker_ends_a_row_at_which_claims_fail_and_runs_the_others(environment: Environment) -> None:
    with open_session(environment.url) as session:
        session.execute("alter table horsies.tasks drop constraint attempt_has_a_successor")
        poison = environment.send("ok", "poison")
        session.execute("update horsies.tasks set attempt = 2147483647")
        others = [environment.send("ok", f"other {number}") for number in range(3)]
        worker = environment.ready_worker("--processes=1")
        for other in others:
            assert other.get(timeout_ms=30_000).is_ok()
        error = poison.get(timeout_ms=30_000).err_value
        assert error.error_code == "WORKER_SERIALIZATION_ERROR"
        assert "could not claim this task" in (error.message or "")
        worker.wait_for_log("claim.failed")
        late = environment.send("ok", "late")
        assert late.get(timeout_ms=30_000).is_ok()
        info = poison.info().unwrap()
        assert info is not None
        assert info.status is TaskStatus.FAILED
