"""The metrics of a worker: what they say after a mixed run, under kills, and while the database is away."""

import signal
import socket
from collections import Counter

import psutil

from tests.support.environment import Environment
from tests.support.proxy import Proxy
from tests.support.scrapes import Scrape, fetch, metrics_url, scrape
from tests.support.waiting import wait_until

ON = "--metrics-port=0"
MIXED = ("ok", "ok_async", "fail", "late_payment", "boom", "boom_mapped", "kill", "wrong_type", "slow_async")
FINISHED = "horsies_tasks_finished_total"


def in_history(environment: Environment) -> dict[tuple[str, ...], float]:
    rows = environment.session.execute(
        "select task_name, queue, status from horsies.history where status in ('COMPLETED', 'FAILED')"
    )
    return {tuple(key): float(number) for key, number in Counter(rows.fetchall()).items()}


def finished(found: Scrape) -> dict[tuple[str, ...], float]:
    return found.by(FINISHED, "task", "queue", "status")


def test_the_counters_equal_the_history(environment: Environment) -> None:
    worker = environment.ready_worker(ON, "--processes=2")
    url = metrics_url(worker)
    for number in range(3):
        for name in MIXED:
            environment.send(name, f"{name}-{number}")
    cancelled = environment.send("sleep", "cancelled", 60.0)
    environment.wait_for_note("cancelled")
    assert cancelled.cancel().is_ok()
    environment.wait_until_all_ended()
    expected = in_history(environment)
    found = wait_until(lambda: (seen := scrape(url)) and finished(seen) == expected and seen, 10, "equal counters")
    retried = environment.session.execute(
        "select h.task_name, a.error_code from horsies.attempts a join horsies.history h on h.id = a.task_id"
    ).fetchall()
    failed = environment.session.execute(
        "select task_name, error_code from horsies.history where status = 'FAILED'"
    ).fetchall()
    assert found.by("horsies_task_retries_total", "task") == Counter((name,) for name, _ in retried)
    assert found.by("horsies_task_errors_total", "task", "error_code") == Counter([*retried, *failed])
    attempts = Counter(name for name, *_ in [*retried, *expected.keys()])
    assert set(attempts) <= {task for (task,) in found.by("horsies_task_run_seconds_count", "task")}
    assert found.value("horsies_task_run_seconds_count", task="late_payment") == 6
    assert found.value("horsies_task_run_seconds_sum", task="slow_async") >= 0.9
    assert found.value("horsies_task_wait_seconds_count", queue="default") == sum(expected.values()) + len(retried) + 1
    assert found.value("horsies_child_deaths_total", reason="signal") == 3
    assert found.value("horsies_worker_slots") == 2
    assert found.value("horsies_database_up") == 1
    assert found.value("horsies_claim_seconds_count") > 0
    assert worker.stop() == 0


def test_a_wait_counts_from_the_due_time(environment: Environment) -> None:
    delayed = environment.tasks.ok.schedule(1.5, "delayed").unwrap()
    environment.send("ok", "early")
    environment.session.execute(
        "update horsies.tasks set run_at = run_at - interval '40 s' where id <> %s", (delayed.task_id,)
    )
    worker = environment.ready_worker(ON)
    environment.wait_until_all_ended()
    url = metrics_url(worker)
    found = wait_until(lambda: (seen := scrape(url)) and len(finished(seen)) and seen, 10, "counters")
    limits = {limit: number for (limit,), number in found.by("horsies_task_wait_seconds_bucket", "le").items()}
    assert (limits["30.0"], limits["60.0"]) == (1, 2)
    assert worker.stop() == 0


def test_no_counter_falls_and_no_gauge_is_impossible_under_kills(environment: Environment) -> None:
    worker = environment.ready_worker(ON, "--processes=3", "--concurrency=2", "--max-tasks-per-child=3")
    url = metrics_url(worker)
    earlier = scrape(url)
    for round_ in range(4):
        for number in range(8):
            environment.send("sleep", f"{round_}-{number}", 0.2)
        environment.wait_for_note(f"{round_}-0")
        for child in worker.children()[:2]:
            child.send_signal(signal.SIGKILL)
        found = scrape(url)
        assert list(found.fallen(earlier)) == []
        assert 0 <= found.value("horsies_worker_slots_busy") <= found.value("horsies_worker_slots") == 6
        earlier = found
    environment.wait_until_all_ended()
    expected = in_history(environment)
    wait_until(lambda: finished(scrape(url)) == expected, 10, lambda: f"{expected}, found {finished(scrape(url))}")
    found = scrape(url)
    assert list(found.fallen(earlier)) == []
    assert found.value("horsies_worker_slots_busy") == 0
    assert found.value("horsies_child_deaths_total", reason="signal") >= 8
    assert worker.stop() == 0


def test_health_and_readiness(environment: Environment, proxy: Proxy, tcp_database_url: str) -> None:
    environment.url = proxy.url(tcp_database_url)
    proxy.refuse()
    worker = environment.worker(ON, TEST_HEARTBEAT_MS="1000", TEST_STALE_MS="30000")
    url = metrics_url(worker)
    assert fetch(f"{url}/healthz") == (200, "ok\n")
    status, reasons = fetch(f"{url}/readyz")
    assert status == 503
    assert "the database was not reached" in reasons
    assert "no child process is ready" in reasons
    waiting = scrape(url)
    assert waiting.value("horsies_database_up") == 0
    assert "horsies_heartbeat_age_seconds" not in waiting.names()
    proxy.accept()
    worker.wait_until_ready()
    assert fetch(f"{url}/readyz") == (200, "ready\n")
    assert scrape(url).value("horsies_heartbeat_age_seconds") < 30
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: scrape(url).value("horsies_database_up") == 0, 10, "the loss of the database")
    wait_until(lambda: fetch(f"{url}/readyz")[0] == 503, 10, "not to be ready")
    assert fetch(f"{url}/healthz")[0] == 200
    proxy.accept()
    wait_until(lambda: fetch(f"{url}/readyz")[0] == 200, 10, "to be ready again")
    environment.send("sleep", "last", 1.5)
    environment.wait_for_note("last")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "the worker is stopping" in fetch(f"{url}/readyz")[1], 5, "the stop")
    assert scrape(url).value("horsies_worker_slots_busy") == 1
    assert worker.wait() == 0


def test_no_child_holds_the_socket_of_metrics(environment: Environment) -> None:
    worker = environment.ready_worker(ON)
    port = int(metrics_url(worker).rsplit(":", 1)[1])

    def listens(process: psutil.Process) -> bool:
        return port in {each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"}

    assert listens(psutil.Process(worker.pid))
    assert [each for each in worker.descendants() if listens(each)] == []
    assert worker.stop() == 0


def test_a_port_in_use_is_refused_at_the_start(environment: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = environment.worker(f"--metrics-port={port}")
        assert worker.wait() == 1
    assert f"metrics cannot be served at 127.0.0.1 port {port}: Address already in use" in worker.log()
    assert "worker.ready" not in worker.log()
