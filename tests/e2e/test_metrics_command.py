"""`horsies metrics` as a process: printed once, served, while the database is away, and stopped."""

import socket

from tests.support.environment import Environment
from tests.support.factories import request, send
from tests.support.proxy import Proxy
from tests.support.scrapes import Scrape, fetch, metrics_url, scrape
from tests.support.shell import Shell
from tests.support.waiting import wait_until


def test_the_metrics_are_printed_once(shell: Shell) -> None:
    send(shell.session, request())
    found = Scrape.of(shell.run("metrics", "--once").stdout)
    assert found.value("horsies_queue_tasks", queue="default", state="waiting") == 1
    assert found.value("horsies_unclaimable_tasks") == 1


def test_a_database_that_is_away_is_an_error(shell: Shell) -> None:
    shell.url = "postgresql://nobody@127.0.0.1:1/none"
    assert "HRS-211" in shell.run("metrics", "--once", code=1).stderr


def test_a_port_in_use_is_refused(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = shell.run("metrics", f"--port={taken.getsockname()[1]}", code=1)
    assert "Address already in use" in refused.stderr


def test_they_are_served_as_soon_as_the_database_answers(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    environment.send("ok", "waits")
    environment.url = proxy.url(tcp_database_url)
    proxy.refuse()
    server = environment.worker("--port=0", command="metrics")
    url = metrics_url(server)
    assert fetch(f"{url}/healthz") == (200, "ok\n")
    assert fetch(f"{url}/metrics")[0] == 503
    proxy.accept()
    wait_until(lambda: fetch(f"{url}/metrics")[0] == 200, 10, "an answer of the database")
    assert scrape(url).value("horsies_queue_tasks", queue="default", state="waiting") == 1
    assert server.stop() == 0
