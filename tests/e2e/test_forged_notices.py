"""Anybody who may connect to the database can notify: a forged notice is a hint and nothing else."""

from uuid import UUID

from tests.support.environment import Environment
from tests.support.sessions import Ear


def test_a_forged_cancel_stops_nothing(environment: Environment) -> None:
    worker = environment.ready_worker()
    running = environment.send("sleep", "running", 2)
    environment.wait_for_note("running")
    forged = UUID(running.task_id).hex
    for payload in [forged, "", "x", forged[:-1], forged.upper(), "\n", "0" * 32]:
        environment.session.execute("select pg_notify('horsies.cancel', %s)", (payload,))
    assert running.get(timeout_ms=20_000).ok_value == "running"
    assert environment.counts() == {"running": 1, "running:end": 1}
    cancelled = environment.send("sleep", "cancelled", 600)
    environment.wait_for_note("cancelled")
    assert cancelled.cancel().unwrap()
    worker.wait_for_log(r"task\.cancelled|SIGKILL|was cancelled")
    assert worker.stop() == 0


def test_results_are_not_sent_to_everybody(environment: Environment) -> None:
    environment.ready_worker()
    ear = Ear(environment.session, "done")
    sent = environment.send("ok", "secret")
    assert sent.get(timeout_ms=20_000).ok_value == "done secret"
    assert set(ear.heard()) == {UUID(sent.task_id).hex}
