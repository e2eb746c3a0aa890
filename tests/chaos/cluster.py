"""The cluster of a chaos run: a server, workers that are restarted when they end, producers, and the ledger."""

import ctypes.util
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.chaos.checker import Answer, Attempt, Effect, Evidence, Final, Kill, Kind, Note, Sent, Timing
from tests.chaos.workflow_checker import FlowEvidence, NodeRow, NodeTask, RunRow, Started
from tests.support.proxy import Proxy
from tests.support.server import PASSWORD
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, WorkerProcess, clean_environment

LOAD = Path(__file__).with_name("load")
SECRETS = (PASSWORD, "s3cret-argument")
MAX_WAITING = 250
_WATCH_S = 0.1
_JOIN_S = 5.0
_MAX_STRETCH = 4.0
FAKETIME = next(
    (str(path) for path in sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))),
    ctypes.util.find_library("faketime"),
)
RETRIED = frozenset({"WORKER_CRASHED"})
DONE: frozenset[str | None] = frozenset({None})
MAY_FAIL = DONE | {"BOOM"}
BROKEN = frozenset({"LOST", "BROKER_ERROR"})  # the connection of a transactional task
RETRIED_OWN = RETRIED | BROKEN | {"REFUSED"}
ENDS_OWN = RETRIED_OWN | {"ALWAYS", "UNHANDLED_EXCEPTION"}


def kinds(cap: int) -> dict[str, Kind]:
    """Return the guarantees for the tasks of `chaos_tasks`."""
    return {
        "quick": Kind(DONE),
        "quick_again": Kind(DONE, RETRIED),
        "nap": Kind(DONE),
        "nap_again": Kind(DONE, RETRIED),
        "nap_async": Kind(DONE),
        "flaky": Kind(DONE, frozenset({"FLAKY"})),
        "failing": Kind(frozenset({"ALWAYS"})),
        "capped": Kind(DONE, cap=cap or None),
        "offspring": Kind(DONE),
        "sender": Kind(DONE),
        "effect": Kind(DONE | ENDS_OWN, RETRIED_OWN, transactional=True),
        "effect_once": Kind(DONE | ENDS_OWN, transactional=True),
        "effect_session": Kind(DONE | ENDS_OWN, RETRIED_OWN, transactional=True),
        "effect_async": Kind(DONE | ENDS_OWN | {"TASK_TIMEOUT"}, transactional=True),
        "effect_late": Kind(DONE | BROKEN | {"TASK_TIMEOUT"}, transactional=True),
        "effect_cancelled": Kind(DONE | RETRIED_OWN | {"TASK_CANCELLED"}, RETRIED_OWN, transactional=True),
        "effect_step": Kind(MAY_FAIL, RETRIED_OWN, tells=False, transactional=True),
        "step": Kind(MAY_FAIL, RETRIED, tells=False),
        "sum_up": Kind(MAY_FAIL, RETRIED, tells=False),
        "numbers": Kind(DONE, RETRIED, tells=False),
        "square": Kind(MAY_FAIL, RETRIED, tells=False),
        "total": Kind(DONE, RETRIED, tells=False),
        "horsies.map": Kind(DONE, RETRIED | {"BROKER_ERROR"}, tells=False, notes=False),
        "horsies.build:chaos.child": Kind(DONE, tells=False, notes=False),
    }


@dataclass(slots=True)
class Place:
    """A place where one worker runs, which is restarted whenever it ends.

    Attributes:
        url: The URL by which the worker connects to the database.
        env: Additional environment variables.
        worker: The current worker.
        ended: The earlier workers.
        disturbed_at: When a fault last killed, stopped or resumed the worker, in monotonic seconds.
    """

    name: str
    url: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    worker: WorkerProcess | None = None
    ended: list[WorkerProcess] = field(default_factory=list[WorkerProcess])
    lock: threading.Lock = field(default_factory=threading.Lock)
    disturbed_at: float = 0.0

    @property
    def shift_s(self) -> float:
        """The number of seconds by which its clock is ahead."""
        return 3600.0 * int(self.env.get("FAKETIME", "0h").removesuffix("h"))


@dataclass(slots=True)
class FaultEffects:
    """The effects of faults, recorded by several threads.

    Attributes:
        fenced: Workers that were declared dead although they sent heartbeats.
    """

    counts: Counter[str] = field(default_factory=Counter[str])
    recoveries: list[Timing] = field(default_factory=list[Timing])
    fenced: list[str] = field(default_factory=list[str])


class Cluster:
    """Everything of a run except the faults."""

    def __init__(
        self, folder: Path, seed: str, *, cap: int = 0, stale_ms: int = 4000, package: Path | None = None
    ) -> None:
        """Prepare the folder. ``package`` is the package to test; None: the installed one."""
        self.folder = folder
        self.seed = seed
        self.cap = cap
        self.stale_s = stale_ms / 1000
        self.done = FaultEffects()
        self._disturbances: Counter[str] = Counter()  # the number of disturbances that last, by what they disturb
        self._calm_since: dict[str, float] = {}  # when the latest ended
        self._disturbing = threading.Lock()
        self.settled_s = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        for file in LOAD.glob("*.py"):
            shutil.copy(file, folder)
        self.env = {"CHAOS_LEDGER": str(folder), "CHAOS_CAP": str(cap), "CHAOS_STALE_MS": str(stale_ms)}
        if package is not None:
            self.env["PYTHONPATH"] = str(package)
        self.places: list[Place] = []
        self.proxies: list[Proxy] = []
        self._producers: list[subprocess.Popen[bytes]] = []
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._url = ""
        self._app = "chaos_tasks:app"

    def open(self, url: str, observer_url: str, places: Sequence[Place]) -> None:
        """Start the workers. Producers use ``url``; the harness itself uses ``observer_url``."""
        self._url = url
        self.observer_url = observer_url
        self._run_producer("burst", "1")  # creates the schema
        self._start_workers(places)

    def migrate_and_open(self, url: str, places: Sequence[Place], app: str) -> None:
        """Start workers of another app, without a task of `chaos_tasks`."""
        self._url = self.observer_url = url
        self._app = app
        assert self._start([str(HORSIES), "db", "migrate", app]).wait(120) == 0
        self._start_workers(places)

    def _start_workers(self, places: Sequence[Place]) -> None:
        self.places = list(places)
        with self.connect() as session:
            session.execute(_EFFECTS_TABLE)
        for work in (*(lambda place=place: self._keep(place) for place in places), self._hold_producers_back):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self._threads.append(thread)

    def wait_until_ready(self, timeout: float = 60) -> None:
        """Wait until every worker claims tasks."""
        for place in self.places:
            wait_until(
                lambda place=place: is_ready(place.worker), timeout, lambda place=place: self._describe_unready(place)
            )

    @contextmanager
    def disturbed(self, *, heartbeats: bool = False) -> Generator[None]:
        """Note that the database does not work as usual while the body runs, and whether that may delay heartbeats."""
        kinds = ["database", "heartbeats"] if heartbeats else ["database"]
        with self._disturbing:
            self._disturbances.update(kinds)
        try:
            yield
        finally:
            with self._disturbing:
                self._disturbances.subtract(kinds)
                self._calm_since.update(dict.fromkeys(kinds, time.monotonic()))

    def has_been_calm_since(self, moment: float) -> bool:
        """Whether the database has worked as usual since then, in monotonic seconds."""
        return self._is_undisturbed("database", moment)

    def has_had_heartbeats_since(self, moment: float) -> bool:
        """Whether nothing in the database has delayed heartbeats since then, in monotonic seconds."""
        return self._is_undisturbed("heartbeats", moment)

    def _is_undisturbed(self, kind: str, moment: float) -> bool:
        with self._disturbing:
            return not self._disturbances[kind] and self._calm_since.get(kind, 0.0) < moment

    def connect(self) -> psycopg.Connection:
        """Open a session for observation and for faults."""
        return psycopg.connect(self.observer_url, autocommit=True, connect_timeout=3, application_name="harness")

    def produce(self, count: int, per_second: float, names: str) -> None:
        """Start producers that send tasks with these names until they are stopped."""
        for number in range(count):
            command = [sys.executable, "producer.py", "load", f"{self.seed}-{number}", str(per_second), names]
            self._producers.append(self._start(command))

    def start_runs(self, count: int, seconds: float) -> None:
        """Start a producer that starts ``count`` workflow runs, spread over the time."""
        command = [sys.executable, "producer.py", "runs", self.seed, str(count), str(seconds)]
        self._producers.append(self._start(command))

    def await_results(self) -> None:
        """Start a producer that sends tasks one by one, waits for each result, and records it."""
        self._producers.append(self._start([sys.executable, "producer.py", "answers", self.seed]))

    def burst(self, count: int) -> float:
        """Send many quick tasks at once and wait for them. Return the number of tasks per second."""
        return count / float(self._run_producer("burst", str(count)))

    def live(self) -> int:
        """Count the tasks that have not ended."""
        with self.connect() as session:
            row = session.execute("select count(*) from horsies.tasks").fetchone()
        assert row is not None
        return row[0]

    def settle(self, within_s: float) -> None:
        """Stop the producers, wait until every task has ended, and record how long that took."""
        begin = time.monotonic()
        for producer in self._producers:
            producer.send_signal(signal.SIGTERM)
        for producer in self._producers:
            producer.wait(within_s)
        with suppress(AssertionError):  # the checker reports tasks that are still live
            wait_until(self._is_drained, within_s - (time.monotonic() - begin))
        self.settled_s = time.monotonic() - begin

    def close(self) -> list[str]:
        """Stop all workers gracefully, and return the processes, connections and locks that remain."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        left: list[str] = []
        for place in self.places:
            worker = place.worker
            if worker is not None:
                with suppress(AssertionError):
                    left += [
                        f"exit code {code} after SIGTERM of {worker.log_file.name}"
                        for code in [worker.stop(30)]
                        if code
                    ]
        with suppress(AssertionError):
            wait_until(lambda: not self._processes(), 10)
        left += [f"process {each.pid} {' '.join(each.cmdline())[:80]}" for each in self._processes()]
        with self.connect() as session:
            with suppress(AssertionError):
                wait_until(lambda: not session.execute(_SESSIONS).fetchall(), 10)
            left += [f"connection {row}" for row in session.execute(_SESSIONS)]
            left += [f"lock {row}" for row in session.execute("select pid from pg_locks where locktype = 'advisory'")]
        for proxy in self.proxies:
            proxy.close()
        return left

    def kill(self) -> None:
        """Kill everything that still runs, after a failure of the harness itself."""
        self._closing.set()
        for thread in self._threads:  # otherwise it would start another worker
            thread.join(_JOIN_S)
        for producer in self._producers:
            if producer.poll() is None:
                producer.kill()
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def evidence(self) -> Evidence:
        """Return all records to check, after `close`."""
        found = Evidence(kinds(self.cap))
        found.sent = [Sent(task_id, kind, verdict) for verdict, kind, task_id in self._lines("sent")]
        found.sent += [Sent(code, kind, "accepted") for kind, code, *_ in self._lines("refused")]
        found.notes = [
            Note(event, task_id, int(attempt), int(pid), float(at))
            for event, task_id, attempt, pid, at in self._lines("notes")
        ]
        found.answers = [Answer(task_id, code, " ".join(text)) for task_id, code, *text in self._lines("answers")]
        found.fenced = self.done.fenced
        with self.connect() as session:
            found.finals = [_final(row) for row in session.execute(_FINALS)]
            found.attempts = [_attempt(row) for row in session.execute(_ATTEMPTS)]
            found.live = [row[0] for row in session.execute("select id::text from horsies.tasks")]
            found.effects = [Effect(*row) for row in session.execute("select task_id, attempt, pid from effects")]
        found.kills = [
            kill
            for place in self.places
            for worker in [*place.ended, place.worker]
            if worker is not None
            for kill in kills_in(worker.log(), place.shift_s)
        ]
        found.timings = self.done.recoveries
        found.secrets = [
            f"{secret!r} in {log.name}"
            for log in self.logs()
            for secret in SECRETS
            if secret in log.read_text(errors="replace")
        ]
        return found

    def flows(self) -> FlowEvidence:
        """Return all records of workflow runs, after `close`."""
        found = FlowEvidence([Started(run_id, name, verdict) for verdict, name, run_id in self._lines("runs")])
        with self.connect() as session:
            for run_id, parent, index, *rest in session.execute(_RUNS):
                found.runs.append(RunRow(run_id, None if parent is None else (parent, index), *rest))
            found.nodes = [NodeRow(*row) for row in session.execute(_NODES)]
            found.tasks = [NodeTask(*row) for row in session.execute(_NODE_TASKS)]
        return found

    def logs(self) -> list[Path]:
        """Return the log files of workers and producers."""
        return sorted(self.folder.glob("*.log"))

    def events(self) -> Counter[str]:
        """Count the interesting events in the logs of workers, and the outcomes that were rejected."""
        found: Counter[str] = Counter()
        for log in self.logs():
            text = log.read_text(errors="replace")
            found["stale outcomes rejected"] += sum(map(int, re.findall(r"outcomes\.stale count=(\d+)", text)))
            for name in (
                "worker.fenced",
                "tasks.lost",
                "connection.lost",
                "child.died",
                "child.killed",
                "worker.ready",
                "child.hung",
            ):
                found[name] += len(re.findall(rf"\b{re.escape(name)}\b", text))
        found["replays"] = len(self._lines("replays"))
        return found

    def _lines(self, name: str) -> list[list[str]]:
        path = self.folder / name
        return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []

    def _start(self, command: Sequence[str], stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        environment = clean_environment(**self.env, HORSIES_DATABASE_URL=self._url)
        with (self.folder / "producer.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=stdout, stderr=log)

    def _run_producer(self, *args: str) -> str:
        done = self._start([sys.executable, "producer.py", *args], subprocess.PIPE)
        output, _ = done.communicate(timeout=120)
        assert done.returncode == 0, (self.folder / "producer.log").read_text()[-3000:]
        return output.decode()

    def _keep(self, place: Place) -> None:
        """Start a worker, and start another one whenever it ends."""
        while not self._closing.wait(_WATCH_S):
            if place.worker is None or place.worker._process.poll() is not None:
                env = {**self.env, **place.env, "HORSIES_DATABASE_URL": place.url}
                with place.lock:
                    if place.worker is not None:
                        place.ended.append(place.worker)
                    place.worker = WorkerProcess(["worker", self._app, "--processes=2"], self.folder, env, HORSIES)

    def _hold_producers_back(self) -> None:
        """Let producers pause while too many tasks are waiting."""
        pause = self.folder / "pause"
        while not self._closing.wait(5 * _WATCH_S):
            with suppress(psycopg.Error):
                pause.touch() if self.live() > MAX_WAITING else pause.unlink(missing_ok=True)

    def _is_drained(self) -> bool:
        with suppress(psycopg.Error):
            return self.live() == 0
        return False

    def _processes(self) -> list[psutil.Process]:
        """Find all processes of this run's workers by their marks."""
        marks = {worker._mark for place in self.places for worker in [*place.ended, place.worker] if worker is not None}
        return [each for each in psutil.process_iter() if _mark(each) in marks]

    def _describe_unready(self, place: Place) -> str:
        return f"{place.name} to be ready: {place.worker.log()[-3000:] if place.worker else 'never started'}"


def is_ready(worker: WorkerProcess | None) -> bool:
    """Whether the worker claims tasks."""
    return worker is not None and "worker.ready" in worker.log()


def skewed(hours: int) -> dict[str, str]:
    """Return environment variables that shift the clock of a process by hours; empty without libfaketime."""
    if FAKETIME is None:
        return {}
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{hours:+d}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def kills_in(log: str, shift_s: float) -> list[Kill]:
    """Find the children that a worker has killed because a task in them was cancelled.

    Args:
        log: The log of the worker.
        shift_s: The number of seconds by which the worker's clock is ahead.
    """
    to_monotonic = time.monotonic() - time.time() - shift_s
    return [
        Kill(int(pid), kind, datetime.fromisoformat(at).timestamp() + to_monotonic)
        for at, pid, kind in _KILLED.findall(log)
    ]


def pressure() -> float:
    """Return the factor by which this machine is overloaded, 1 for not at all. Time limits are multiplied by it."""
    return min(_MAX_STRETCH, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def choice[T](rng: random.Random, things: Sequence[T]) -> T | None:
    """Return a random item, or None if there are none."""
    return rng.choice(things) if things else None


def _mark(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get("HORSIES_TEST_WORKER")
    return None


_KILLED = re.compile(r'^(\S+) \S+ child\.killed .*\bpid=(\d+) reason="task (\S+) was cancelled"', re.MULTILINE)
_EFFECTS_TABLE = """
    create table effects (
        id bigint generated always as identity primary key,
        task_id text not null,
        attempt int not null,
        pid int not null,
        slot text unique deferrable initially deferred
    )
"""
_SESSIONS = "select pid, state, query from pg_stat_activity where application_name like 'horsies%'"
_FINALS = """
    select id::text, task_name, status, error_code, attempt, worker_pid, worker_id::text, exchange_no,
           case when status = 'COMPLETED' then result #>> '{}' end,
           case when task_name = 'offspring' then args ->> 'origin' end, (args ->> 'attempt')::int, workflow_id::text
    from horsies.history
"""
_ATTEMPTS = "select task_id::text, attempt, error_code, worker_pid, worker_id::text, exchange_no from horsies.attempts"
_RUNS = """
    select id::text, parent_id::text, parent_index, name, status, error ->> 'error_code', total,
           (select count(*) from horsies.workflow_nodes n where n.workflow_id = w.id),
           (select count(*) from horsies.workflow_edges e where e.workflow_id = w.id)
    from horsies.workflows w
"""
_NODES = "select workflow_id::text, index, status, error_code, result from horsies.workflow_nodes"
_NODE_TASKS = """
    select workflow_id::text, node_index, item from horsies.history where workflow_id is not null
    union all
    select workflow_id::text, node_index, item from horsies.tasks where workflow_id is not null
"""


def _final(row: tuple[Any, ...]) -> Final:
    *own, worker, exchange, result, origin, origin_attempt, run_id = row
    fence = None if worker is None else (worker, exchange)
    return Final(*own, fence, result, None if origin is None else (origin, origin_attempt), run_id)


def _attempt(row: tuple[Any, ...]) -> Attempt:
    *own, worker, exchange = row
    return Attempt(*own, (worker, exchange))
