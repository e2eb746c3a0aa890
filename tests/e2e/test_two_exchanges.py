"""Two exchanges in flight: the second lane continues while the first exchange has to wait."""

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from horsies import TaskHandle
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.server import PASSWORD
from tests.support.sessions import open_session, scalar
from tests.support.waiting import wait_until

WAITING = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"

TRIGGER = """
    create function public.wait_for_test() returns trigger language plpgsql set lock_timeout = 0
    as $function$
    begin
        perform pg_advisory_xact_lock_shared(4711, hashtext(new.args ->> 'key'));
        return new;
    end
    $function$;
    create trigger wait_for_test before insert on horsies.history for each row execute function public.wait_for_test()
"""


@pytest.fixture
def lock(environment: Environment) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Yield a session whose locks end with its transaction."""
    environment.session.execute(TRIGGER)
    with psycopg.connect(environment.url) as session:
        yield session
        session.rollback()


def block_the_finish_of(
    environment: Environment, key: str, lock: psycopg.Connection[tuple[object, ...]]
) -> TaskHandle[str]:
    """Run a task whose outcome cannot be written until the lock is released.

    Exchanges do not wait for locked rows. They do wait for a trigger on history that waits.
    """
    lock.execute("select pg_advisory_xact_lock(4711, hashtext(%s))", (key,))
    handle = environment.send("sleep", key, 0.5)
    environment.wait_for_note(key)
    return handle


def waiting(environment: Environment) -> set[int]:
    return {int(row[0]) for row in environment.session.execute(WAITING)}


def test_an_exchange_that_waits_for_a_lock_delays_no_other_task(
    environment: Environment, lock: psycopg.Connection[tuple[object, ...]]
) -> None:
    worker = environment.ready_worker("--processes=2")
    blocked = block_the_finish_of(environment, "blocked", lock)
    wait_until(lambda: len(waiting(environment)) == 1, 20, "an exchange that waits")
    for number in range(20):
        assert environment.send("ok", f"ok-{number}").get(timeout_ms=10_000).is_ok()
    assert len(waiting(environment)) == 1
    lock.rollback()
    assert blocked.get(timeout_ms=10_000).is_ok()
    assert set(environment.counts().values()) == {1}
    assert worker.stop() == 0


@pytest.mark.parametrize("which", [0, 1])
def test_an_exchange_whose_connection_ends_is_repeated_while_another_one_runs(
    environment: Environment, lock: psycopg.Connection[tuple[object, ...]], which: int
) -> None:
    worker = environment.ready_worker("--processes=2")
    blocked = [block_the_finish_of(environment, "first", lock)]
    wait_until(lambda: len(waiting(environment)) == 1, 20, "an exchange that waits")
    [first] = waiting(environment)
    blocked.append(block_the_finish_of(environment, "second", lock))
    wait_until(lambda: len(waiting(environment)) == 2, 20, "another one")
    [second] = waiting(environment) - {first}
    environment.session.execute("select pg_terminate_backend(%s)", ([first, second][which],))
    wait_until(lambda: [first, second][which] not in waiting(environment), 20, "its end")
    lock.rollback()
    assert all(handle.get(timeout_ms=10_000).is_ok() for handle in blocked)
    assert environment.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert set(environment.counts().values()) == {1}
    worker.wait_for_log(r"connection\.restored")
    assert worker.stop() == 0


@pytest.fixture
def limited_url(tcp_database_url: str) -> Iterator[str]:
    """Yield a URL that allows four connections, one less than a worker under load uses."""
    role = f"limited_{uuid4().hex}"
    with open_session(tcp_database_url) as session:
        owner = scalar(session, "select tableowner from pg_tables where schemaname = 'horsies' and tablename = 'tasks'")
        made = f"create role {role} login password '{PASSWORD}' connection limit 4 in role {owner}"
        session.execute(made.encode())
        yield tcp_database_url.replace(f"//{urlsplit(tcp_database_url).username}:", f"//{role}:")
        session.execute(f"reassign owned by {role} to {owner}".encode())  # a new partition, if a day has just begun
        session.execute(f"drop role {role}".encode())


def test_a_worker_that_gets_no_second_connection_works_over_the_first(
    environment: Environment, limited_url: str, lock: psycopg.Connection[tuple[object, ...]]
) -> None:
    worker = environment.ready_worker("--processes=2", **{URL_VARIABLE: limited_url})
    role = urlsplit(limited_url).username
    connections = "select count(*) from pg_stat_activity where usename = %s"
    wait_until(lambda: scalar(environment.session, connections, role) == 4, 20, "all the others")
    blocked = block_the_finish_of(environment, "blocked", lock)
    wait_until(lambda: len(waiting(environment)) == 1, 20, "an exchange that waits")
    waits = environment.send("ok", "waits")
    worker.wait_for_log(r"connection\.retrying .*too many connections")
    lock.rollback()
    assert blocked.get(timeout_ms=10_000).is_ok()
    assert waits.get(timeout_ms=10_000).is_ok()
    assert "connection.lost" not in worker.log()
    assert set(environment.counts().values()) == {1}
    assert worker.stop() == 0


def test_the_second_connection_takes_the_place_of_no_heartbeat(environment: Environment, limited_url: str) -> None:
    worker = environment.ready_worker("--processes=2", **{URL_VARIABLE: limited_url, "TEST_HEARTBEAT_MS": "1000"})
    role = urlsplit(limited_url).username
    keys = [f"ok-{number}" for number in range(900)]
    for number, key in enumerate(keys):
        environment.send("ok", key)
        if number % 300 == 150:
            environment.session.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (role,)
            )
    wait_until(lambda: not environment.live_tasks(), 30, worker.log)
    ended_at = scalar(environment.session, "select max(heartbeat_at) from horsies.workers")
    wait_until(
        lambda: scalar(environment.session, "select max(heartbeat_at) from horsies.workers") > ended_at,
        30,
        "a heartbeat",
    )
    assert "worker.fenced" not in worker.log()
    assert {key: environment.counts()[key] for key in keys} == dict.fromkeys(keys, 1)
    assert worker.stop() == 0
