"""Heartbeats continue while exchanges have to wait."""

from tests.chaos.cluster import skewed
from tests.support.environment import Environment
from tests.support.proxy import Proxy
from tests.support.sessions import column, open_session, scalar
from tests.support.waiting import wait_until


def test_a_heartbeat_does_not_wait_for_an_outcome_that_waits_for_a_lock(environment: Environment) -> None:
    worker = environment.ready_worker(TEST_STALE_MS="3000", TEST_HEARTBEAT_MS="1000", TEST_CHECK_MS="1000")
    handle = environment.send("sleep", "short", 0.2)
    environment.wait_for_note("short")
    known = scalar(environment.session, "select id from horsies.workers")
    with open_session(environment.url) as holder, holder.transaction():
        holder.execute("select from horsies.tasks for update")
        began = scalar(holder, "select clock_timestamp()")
        beats = "select count(*) from horsies.workers where id = %s and heartbeat_at > %s + interval '5 s'"
        wait_until(lambda: scalar(environment.session, beats, known, began) == 1, 15, "heartbeats beyond the threshold")
    assert handle.get(timeout_ms=10_000).is_ok()
    assert scalar(environment.session, "select array_agg(id) from horsies.workers") == [known]
    assert worker.stop() == 0


def test_a_cancel_noticed_at_a_heartbeat_affects_no_concurrent_task(environment: Environment) -> None:
    worker = environment.ready_worker("--concurrency=2", TEST_HEARTBEAT_MS="1000")
    doomed, other = environment.send("sleep", "doomed", 60.0), environment.send("sleep", "other", 4.0)
    for key in ("doomed", "other"):
        environment.wait_for_note(key)
    assert scalar(environment.session, "select horsies.cancel(%s)", doomed.task_id) == "cancelled"  # without a notice
    worker.wait_for_log(r"\btasks\.lost\b")
    assert other.get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0


def test_a_worker_reports_its_clock_skew_at_once(environment: Environment) -> None:
    expected = 3600 if skewed(1) else 0
    worker = environment.ready_worker(**skewed(1))
    found = wait_until(
        lambda: scalar(
            environment.session, "select array_agg(clock_skew) from horsies.workers where clock_skew is not null"
        ),
        10,
        "a skew",
    )
    assert abs(found[0] - expected) < 1
    assert worker.stop() == 0


def test_heartbeats_carry_the_counts_of_the_current_minute(environment: Environment) -> None:
    """Before and after maintenance has sampled a minute, each task is counted once."""
    worker = environment.ready_worker("--processes=2", TEST_HEARTBEAT_MS="1000")
    total = "select coalesce(sum(completed), 0) from horsies.throughput where period_s = 60"
    sent = 0

    def is_counted_by_the_worker() -> bool:
        nonlocal sent
        environment.send("ok", "again")  # in case that the minute has just ended
        sent += 1
        return scalar(environment.session, f"{total} and is_current") > 0

    wait_until(is_counted_by_the_worker, 30, "counts that are not sampled yet")
    wait_until(lambda: scalar(environment.session, total) == sent, 30, "the counts of all tasks")
    assert worker.stop() == 0


BEATS = """
    select pid from pg_stat_activity
    where datname = current_database() and query like '%%.heartbeat(%%' and pid <> pg_backend_pid()
"""
SHORT = {"TEST_STALE_MS": "6000", "TEST_HEARTBEAT_MS": "3000", "TEST_CHECK_MS": "1000"}


def test_a_session_that_the_server_ends_costs_a_healthy_worker_nothing(environment: Environment) -> None:
    """Once for each of three heartbeats: the next one is repeated at once, over a new connection."""
    worker = environment.ready_worker(**SHORT)
    handle = environment.send("sleep", "long", 9.0)
    environment.wait_for_note("long")
    for number in range(1, 4):
        ended = wait_until(lambda: column(environment.session, BEATS), 10, "the session of heartbeats")
        column(environment.session, "select pg_terminate_backend(pid) from unnest(%s::int[]) as pid", ended)
        wait_until(lambda number=number: worker.log().count("heartbeat.restored") == number, 10, worker.log)
    assert handle.get(timeout_ms=20_000).is_ok()
    assert "child.died" not in worker.log()
    assert worker.stop() == 0


def test_a_worker_that_could_not_connect_for_a_moment_does_not_wait_for_its_next_turn(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    environment.url = proxy.url(tcp_database_url)
    worker = environment.ready_worker(**SHORT)
    handle = environment.send("sleep", "long", 9.0)
    environment.wait_for_note("long")
    for number in range(1, 3):
        proxy.refuse()
        proxy.cut()
        wait_until(lambda number=number: worker.log().count("heartbeat.failed") == number, 10, worker.log)
        proxy.accept()
        wait_until(lambda number=number: worker.log().count("heartbeat.restored") == number, 10, worker.log)
    assert handle.get(timeout_ms=20_000).is_ok()
    assert "child.died" not in worker.log()
    assert worker.stop() == 0
