"""What a worker reports about its child processes: their memory, and how they died."""

import signal
from datetime import UTC, datetime, timedelta

import psutil

from horsies.monitoring import WorkerChildren, worker_children, worker_status
from tests.support.environment import Environment
from tests.support.waiting import wait_until


def reported(environment: Environment) -> WorkerChildren:
    (found,) = worker_children(environment.tasks.app.get_broker()).unwrap()
    return found


def test_memory_of_each_slot_and_deaths_with_their_reasons(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2", TEST_HEARTBEAT_MS="1000")
    wait_until(lambda: None not in (reported(environment).memory_mb or (None,)), 20, "the memory of both slots")
    memory = reported(environment).memory_mb
    assert len(memory) == 2
    resident = [each.memory_info().rss >> 20 for each in worker.children()]
    assert all(abs(mb - min(resident, key=lambda each: abs(each - mb))) < 100 for mb in memory if mb is not None)
    victim = worker.children()[0]
    victim.send_signal(signal.SIGKILL)
    wait_until(lambda: reported(environment).deaths, 20, "the report of the death")
    (death,) = reported(environment).deaths
    assert (death.reason, death.pid) == ("signal", victim.pid)
    assert death.slot in {0, 1}
    assert "SIGKILL" in death.cause
    assert abs(death.died_at - datetime.now(UTC)) < timedelta(minutes=2)
    wait_until(lambda: len(worker.children()) == 2 and None not in reported(environment).memory_mb, 20, "a new child")
    (registered,) = worker_status(environment.tasks.app.get_broker()).unwrap()
    assert reported(environment).worker_id == registered.worker_id
    assert worker.stop() == 0
    assert worker_children(environment.tasks.app.get_broker()).unwrap() == ()
    assert not psutil.pid_exists(victim.pid)
