"""The FastAPI project in several web processes: started by uvicorn, and forked after the parent has used the app."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.roles import HAS_ROLES
from tests.support.sessions import Session, column, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, WorkerProcess

PROJECT = Path(__file__).parents[2] / "examples" / "fastapi" / "shop"
PROCESSES = 2
AT_ONCE = 8

NAMED = """
import os

from fastapi import Request, Response
from shop.web import app


@app.middleware("http")
async def name_the_process(request: Request, call_next) -> Response:
    response = await call_next(request)
    response.headers["X-Process"] = str(os.getpid())
    return response
"""

PRELOADED = """
import asyncio
import os
import signal
import socket
import sys
from decimal import Decimal

import uvicorn
from named import app
from shop.database import open_engine
from shop.tasks import shipping_cost


def use() -> Decimal:
    return shipping_cost.send("DE", Decimal(1)).unwrap().get(timeout_ms=20_000).ok_value


async def use_async() -> Decimal:
    return (await (await shipping_cost.send_async("DE", Decimal(1))).unwrap().get_async(timeout_ms=20_000)).ok_value


async def create_tables() -> None:
    await (await open_engine()).dispose()


def serve(listening: socket.socket) -> None:
    uvicorn.Server(uvicorn.Config(app, loop=sys.argv[1])).run(sockets=[listening])


print("before the fork:", use(), asyncio.run(use_async()), flush=True)
asyncio.run(create_tables())
listening = socket.create_server(("127.0.0.1", 0))
children = []
for _ in range(int(sys.argv[2])):
    if (pid := os.fork()) == 0:
        serve(listening)
        sys.exit(0)
    children.append(pid)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(f"running on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
signal.sigwait([signal.SIGTERM])
for pid in children:
    os.kill(pid, signal.SIGTERM)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
print("exit codes:", codes, "after the fork:", use(), asyncio.run(use_async()), flush=True)
"""

pytestmark = pytest.mark.skipif(HAS_ROLES, reason="the project creates its tables as the user of its URL")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the project, and with the modules of these tests."""
    shutil.copytree(PROJECT, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "named.py").write_text(NAMED)
    (tmp_path / "preloaded.py").write_text(PRELOADED)
    return tmp_path


class Service:
    """The web processes and a worker of the project, on one database."""

    def __init__(self, url: str, folder: Path, session: Session) -> None:
        self._env = {"DATABASE_URL": url, "PYTHONPATH": str(folder)}
        self._folder = folder
        self._session = session
        self.worker = WorkerProcess(["worker", "shop.tasks:queue"], folder, self._env)
        self.started = [self.worker]

    def start(self, program: str, *arguments: str) -> WorkerProcess:
        self.started.append(WorkerProcess(arguments, self._folder, self._env, HORSIES.with_name(program)))
        return self.started[-1]

    def connections(self) -> int:
        """Count the connections of all processes to the database of the test."""
        ours = "datname = current_database() and application_name = 'horsies' and pid <> pg_backend_pid()"
        return scalar(self._session, f"select count(*) from pg_stat_activity where {ours}")

    def sockets(self) -> dict[int, set[int]]:
        """Return the processes that hold each connection of this database, by the port of the connection."""
        ports = set(
            column(self._session, "select client_port from pg_stat_activity where datname = current_database()")
        )
        holders: defaultdict[int, set[int]] = defaultdict(set)
        for process in self.started[-1].processes():
            for connection in process.net_connections("tcp"):
                if connection.laddr.port in ports:
                    holders[connection.laddr.port].add(process.pid)
        return holders


@pytest.fixture
def service(tcp_database_url: str, folder: Path) -> Iterator[Service]:
    with open_session(tcp_database_url) as session:
        running = Service(tcp_database_url, folder, session)
        try:
            yield running
        finally:
            for process in running.started:
                process.kill_all()


def order(place: str) -> int:
    """Place an order, wait for its invoice and for a price, and return the process that did the last of this."""
    with httpx.Client(base_url=place, timeout=30) as client:
        placed = client.post("/orders", json={"email": "ada@example.org", "total": "49.00"})
        assert placed.status_code == 202, placed.text
        invoice = client.get(placed.json()["invoice"], params={"wait_ms": 20_000})
        assert invoice.json()["status"] == "done", invoice.text
        cost = client.post("/shipping-costs", json={"country": "DE", "weight_kg": "2.5"})
        assert cost.json() == {"cost": "10.0"}, cost.text
        return int(cost.headers["X-Process"])


def use_all_processes(place: str) -> set[int]:
    """Use the service until each of its processes has answered."""
    used: set[int] = set()

    def use() -> bool:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            used.update(threads.map(order, [place] * AT_ONCE))
        return len(used) == PROCESSES

    wait_until(use, 40, lambda: f"answers of {PROCESSES} processes, not only of {used}")
    return used


@pytest.mark.timeout(120)
def test_uvicorn_runs_several_processes(service: Service) -> None:
    created = service.start(
        "python", "-c", "import asyncio; from shop.database import open_engine as o; asyncio.run(o())"
    )
    assert created.wait(60) == 0, created.log()
    server = service.start("uvicorn", "named:app", f"--workers={PROCESSES}", "--port=0")
    wait_until(lambda: server.log().count("startup complete") == PROCESSES, 60, server.log)
    used = use_all_processes(server.wait_for_log(r"running on (http://\S+)")[1])
    holders = service.sockets()
    assert {pid for pids in holders.values() for pid in pids} == used
    assert all(len(pids) == 1 for pids in holders.values()), "processes share a socket"
    assert service.worker.stop() == 0
    assert server.stop(60) == 0
    assert server.log().count("Application shutdown complete") == PROCESSES
    assert "ERROR" not in server.log()
    server.assert_gone()
    wait_until(lambda: service.connections() == 0, describe="the end of all connections")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_processes_are_forked_after_the_first_use(service: Service, loop: str) -> None:
    server = service.start("python", "preloaded.py", loop, str(PROCESSES))
    place = server.wait_for_log(r"running on (http://\S+)", 60)[1]
    assert "before the fork: 7 7" in server.log()
    used = use_all_processes(place)
    assert server.pid not in used
    holders = service.sockets()
    assert used < {pid for pids in holders.values() for pid in pids} <= {server.pid, *used}
    assert all(len(pids) == 1 for pids in holders.values()), "processes share a socket"
    assert server.stop(60) == 0
    assert "exit codes: [-15, -15] after the fork: 7 7" in server.log(), "uvicorn raises the signal again at its end"
    assert server.log().count("Finished server process") == PROCESSES
    assert "ERROR" not in server.log()
    assert "Traceback" not in server.log()
    server.assert_gone()
    assert service.worker.stop() == 0
    wait_until(lambda: service.connections() == 0, describe="the end of all connections")
