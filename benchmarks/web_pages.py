"""The web interface: how much time of the database each page costs beside many rows, and how soon it is answered.

Each page is fetched over HTTP from a server in this process. Answers of the database are not kept between two requests,
so each request costs as much as that of the first viewer after a while. The time of the database is what PostgreSQL
writes to its log about each statement of the request: parsing, planning and execution.

The database can be one that was filled before (see `fill`):

    .venv/bin/python benchmarks/web_pages.py URL
"""

import argparse
import http.client
import os
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import crowd
import monitored
import psycopg
import uvicorn
from psycopg.conninfo import conninfo_to_dict
from setting import facts, wait_for

from horsies import AppConfig, Horsies, PostgresConfig
from horsies.metrics.server import open_listener, url_of
from horsies.producer.handle import BrokerResult
from horsies.web import ALL_RIGHTS, User, horsies_web
from horsies.web.snapshots import Key, Snapshot, Snapshots

_MOST_DATABASE_MS = 100
_MOST_ANSWER_MS = 300
_DURATION = re.compile(r"duration: ([\d.]+) ms")
_NODES = 10_000
_LAYERS = 20
_LARGE_RUN = "10000000-0000-0000-0000-000000000000"
_RUN_OF_MANY_NODES = """
    insert into horsies.workflows (id, root_id, name, definition_key, status, on_error, optional, total, completed,
                                   fingerprint, started_at)
    values ('{run}', '{run}', 'large', 'large.v1', 'RUNNING', 'fail', '{{}}', {nodes}, {ended}, '\\x00',
            now() - interval '1 hour');
    insert into horsies.workflow_nodes (workflow_id, index, node_id, kind, task_name, queue, priority, args, args_from,
                                        waits_for, allow_failed_deps, wants_meta, open_deps, status, result,
                                        started_at, finished_at)
    select '{run}', i, 'node ' || i, 'task', 'task_' || i / {width}, 'queue_1', 100, '{{}}', '{{}}',
           case when i < {width} then '{{}}' else array[i - {width}, (i / {width} - 1) * {width} + i * 7 % {width}] end,
           false, false, case when i < {ended} then 0 else 1 end,
           case when i < {ended} then 'COMPLETED' else 'PENDING' end, case when i < {ended} then '1'::json end,
           case when i < {ended} then now() - interval '1 hour' + i / {width} * interval '1 minute' end,
           case when i < {ended} then now() - interval '59 min' + i / {width} * interval '1 minute' end
    from generate_series(0, {nodes} - 1) as i
"""


def fill(waiting: int, ended: int, nodes: int = _NODES) -> str:
    """Return statements that insert waiting and ended tasks, many runs, and one run with many nodes."""
    large = _RUN_OF_MANY_NODES.format(run=_LARGE_RUN, nodes=nodes, ended=nodes * 3 // 4, width=nodes // _LAYERS)
    return ";".join((monitored.fill(waiting, ended), large))


def web_pages(url: str, runs_of_each: int, waiting: int, ended: int, nodes: int) -> None:
    """Measure each page beside many waiting and ended tasks."""
    with crowd.place(url, fill(waiting, ended, nodes)) as place:
        with psycopg.connect(place, autocommit=True) as connection:
            monitored.sample_all(connection)
        name = str(conninfo_to_dict(place)["dbname"])
        pages(urlsplit(url)._replace(path=f"/{name}").geturl(), runs_of_each)


def pages(url: str, runs_of_each: int) -> None:
    """Measure each page on a filled database, and print the medians."""
    with psycopg.connect(url, autocommit=True) as connection:
        log = _log_of(connection)
        paths = _paths(connection)
    with _answers_are_not_kept(), _served(_logged(url)) as address:
        print(f"{'page':<44} {'database':>12} {'log lines':>12} {'answer':>12} {'size':>10}")
        for path in paths:
            _measured(address, path, log)  # templates are compiled, and pages of the database are read
            found = [_measured(address, path, log) for _ in range(runs_of_each)]
            database, statements, answer, size = (statistics.median(each) for each in zip(*found, strict=True))
            is_slow = database > _MOST_DATABASE_MS or answer > _MOST_ANSWER_MS
            print(
                f"{path:<44.44} {database:>9,.1f} ms {statements:>12.0f} {answer:>9,.1f} ms {size / 1024:>7,.0f} kB"
                f"{'   above the bound' if is_slow else ''}",
                flush=True,
            )


def _paths(connection: psycopg.Connection[Any]) -> list[str]:
    waiting, ended, group = (
        connection.execute(query).fetchone()
        for query in (
            b"select id from horsies.tasks order by id desc limit 1",
            b"select id from horsies.history order by id desc limit 1",
            b"select id from horsies.error_groups limit 1",
        )
    )
    filters = ("status:failed", "status:pending", "queue:queue_1", "task:missing", "error:BOOM since:1h")
    return [
        "/",
        "/queues",
        "/queues?queue=queue_1",
        "/tasks",
        *(f"/tasks?{urlencode({'filter': each})}" for each in filters),
        *(f"/tasks/{row[0]}" for row in (waiting, ended) if row is not None),
        "/errors",
        *(f"/errors?group={row[0]}" for row in (group,) if row is not None),
        "/runs",
        "/runs?status=failed",
        "/runs?workflow=missing",
        f"/runs/{_LARGE_RUN}",
        f"/runs/{_LARGE_RUN}?view=graph",
        "/definitions",
        "/schedules",
        "/workers",
        "/system",
        "/send",
    ]


def _log_of(connection: psycopg.Connection[Any]) -> Path:
    """Return the log of an embedded server, which lies beside its data."""
    row = connection.execute(b"show data_directory").fetchone()
    assert row is not None
    return Path(str(row[0])).parent / "log"


def _logged(url: str) -> str:
    """Return the URL for sessions whose statements are logged with their durations."""
    parts = urlsplit(url)
    options = urlencode({"options": "-c log_duration=on"}, quote_via=quote)
    return parts._replace(query=f"{parts.query}&{options}" if parts.query else options).geturl()


def _measured(address: str, path: str, log: Path) -> tuple[float, int, float, int]:
    """Fetch a page.

    Returns the time of the database in ms, the number of durations in the log, the time until the answer in ms, and the
    size of the answer.
    """
    begin = log.stat().st_size
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    start = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read()
    took = (time.perf_counter() - start) * 1000
    connection.close()
    if answer.status != http.client.OK:
        sys.exit(f"{path}: {answer.status} {answer.reason}")
    with log.open("rb") as file:
        file.seek(begin)
        durations = [float(each) for each in _DURATION.findall(file.read().decode(errors="replace"))]
    return sum(durations), len(durations), took, len(content)


@contextmanager
def _answers_are_not_kept() -> Generator[None]:
    """Have the database asked for each request within the block."""
    kept = Snapshots.get

    async def get[T](
        self: Snapshots, key: Key, ask: Callable[[], Awaitable[BrokerResult[T]]], max_age_s: float = 0.0
    ) -> Snapshot[T]:
        del max_age_s
        return await kept(self, key, ask, 0.0)

    Snapshots.get = get
    try:
        yield
    finally:
        Snapshots.get = kept


@contextmanager
def _served(url: str) -> Generator[str]:
    """Serve the pages over HTTP within the block; yields the URL."""

    async def auth(_connection: object) -> User:
        return User("benchmark", ALL_RIGHTS)

    app = Horsies(AppConfig(broker=PostgresConfig(database_url=url, auto_migrate=False)))
    listener = open_listener("127.0.0.1", 0, "pages")
    server = uvicorn.Server(uvicorn.Config(horsies_web(app, auth=auth), log_config=None, lifespan="off"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        app.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="a database of an embedded server on this machine")
    parser.add_argument("--runs", type=int, default=5, help="how often each page is fetched")
    asked = parser.parse_args()
    os.environ.setdefault("HORSIES_DATABASE_URL", asked.url)
    print(facts())
    pages(asked.url, asked.runs)


if __name__ == "__main__":
    main()
