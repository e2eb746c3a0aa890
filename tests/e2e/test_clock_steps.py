"""The clock of the server is set while workers run: nobody is declared dead for it."""

import pytest

from tests.support.environment import Environment
from tests.support.factories import DrivenWorker
from tests.support.sessions import column, move_clock
from tests.support.waiting import wait_until


@pytest.mark.parametrize("seconds", [600, -600])
def test_a_step_of_the_clock_costs_no_worker_its_tasks(environment: Environment, seconds: int) -> None:
    """The next heartbeat is half a minute away, and maintenance runs every second."""
    move_clock(environment.session, 0)  # sessions that begin from now on read the clock that is moved below
    workers = [environment.ready_worker("--processes=2", TEST_CHECK_MS="1000") for _ in range(2)]
    known = column(environment.session, "select id from horsies.workers order by id")
    handles = [environment.send("sleep_again", key, 5.0) for key in ("first", "second", "third")]
    for key in ("first", "second", "third"):
        environment.wait_for_note(key)
    move_clock(environment.session, seconds)
    assert [handle.get(timeout_ms=30_000).is_ok() for handle in handles] == [True] * 3
    assert set(environment.counts().values()) == {1}
    assert column(environment.session, "select id from horsies.workers order by id") == known
    assert "worker.fenced" not in "".join(worker.log() for worker in workers)
    assert [worker.stop() for worker in workers] == [0, 0]


def test_a_worker_that_died_meanwhile_is_recovered_all_the_same(environment: Environment) -> None:
    """Its machine vanishes, and the clock is set back, so that its last heartbeat lies in the future."""
    move_clock(environment.session, 0)
    lost = DrivenWorker(environment.session, names=("sleep",), stale_after_s=2)
    handle = environment.send("sleep", "never began", 1.0)
    lost.claim_one()
    move_clock(environment.session, -600)
    worker = environment.ready_worker(TEST_CHECK_MS="1000")
    error = handle.get(timeout_ms=30_000).err_value
    assert error.error_code == "WORKER_CRASHED"
    wait_until(lambda: environment.worker_rows() == 1, 10, "only the worker that lives")
    assert worker.stop() == 0
