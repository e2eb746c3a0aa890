"""Starts that cannot continue: the lock of migrations is held, or a pooler accepts connections and answers nothing."""

import signal

from horsies.db.sqlfiles import qualifier
from tests.support.environment import Environment
from tests.support.proxy import Proxy
from tests.support.sessions import SCHEMA, open_session
from tests.support.waiting import wait_until


def test_a_worker_that_waits_for_the_lock_of_migrations_obeys_a_signal(environment: Environment) -> None:
    environment.session.execute(f"drop schema {qualifier(SCHEMA)} cascade".encode())
    with open_session(environment.url) as holder:
        holder.execute("select pg_advisory_lock(1752134259)")
        worker = environment.worker()
        worker.wait_for_log(rf"connection\.retrying .*held the lock of migrations.* process {holder.info.backend_pid} ")
        assert worker.stop(5) == 0
        worker.assert_gone()


def test_a_worker_whose_first_connection_is_queued_obeys_a_signal(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    environment.url = proxy.url(tcp_database_url)
    proxy.stall()
    worker = environment.worker()
    wait_until(lambda: proxy.accepted, 20, worker.log)
    assert worker.stop(5) == 0
    worker.assert_gone()


def test_a_scheduler_whose_first_connection_is_queued_obeys_a_signal(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    environment.url = proxy.url(tcp_database_url)
    proxy.stall()
    scheduler = environment.worker(command="scheduler")
    wait_until(lambda: proxy.accepted, 20, scheduler.log)
    scheduler.signal(signal.SIGTERM)
    assert scheduler.wait(5) == 0
