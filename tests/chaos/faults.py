"""The faults of a chaos run: their kinds, number and times. The same seed makes the same plan."""

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import psutil
import psycopg

from tests.chaos.checker import Timing
from tests.chaos.cluster import Cluster, Place, choice, is_ready, pressure
from tests.chaos.servers import PostgresServer
from tests.chaos.strangers import Strangers
from tests.support.workers import WorkerProcess, lives

RECOVERED_WITHIN_S = 2.0
_TRY_FOR_S = 20.0
_TRY_AGAIN_S = 0.1
_CALM_S = 3.0
_HANDLERS = 24
_SETTLING_S = 6.0
_STEP_S = 600.0
_SEEN_WITHIN_S = 3.0
_LOOK_EVERY_S = 0.5
_MOST_BLOCKED_LOOKS = 2
_NOT_NOW = (psycopg.OperationalError, psycopg.InterfaceError, psutil.Error, ProcessLookupError, ValueError)
_FREEZES_S = [(0.3, 2.0), (5.5, 10.0)]
"""Shorter than all limits of a worker, and longer than the time after which it gives up a heartbeat."""

_BACKENDS = """
    select pid from pg_stat_activity
    where application_name like 'horsies%' and backend_type = 'client backend' order by pid
"""
_LIGHTWEIGHT_LOCKS = "select count(*) from pg_stat_activity where wait_event_type = 'LWLock' and state = 'active'"
_SET_CLOCK = """
    insert into horsies.clock (frozen_at, shift) values (null, make_interval(secs => %s))
    on conflict (only_row) do update set shift = excluded.shift
"""
_NOTHING_LEFT = """
    select not exists (select from horsies.workers where id = any (%(ids)s))
       and not exists (select from horsies.tasks where worker_id = any (%(ids)s))
"""

type Fault = Callable[[random.Random], bool]
"""Causes a fault. Returns False if there was nothing to break at the moment."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a plan: its time, its name, and the seed of its random choices."""

    at: float
    name: str
    seed: int


def plan(seed: str, counts: Mapping[str, int], seconds: float) -> list[Planned]:
    """Spread the faults randomly over a time; ``counts`` has their number by name."""
    rng = random.Random(seed)  # noqa: S311
    every = [name for name, count in sorted(counts.items()) for _ in range(count)]
    found = [Planned(rng.uniform(0, seconds), name, rng.getrandbits(32)) for name in every]
    return sorted(found, key=lambda planned: planned.at)


class Breaker:
    """Carries out a plan of faults."""

    def __init__(self, cluster: Cluster, server: PostgresServer) -> None:
        """Prepare the faults for a cluster and its server."""
        self._cluster = cluster
        self._server = server
        self._database = threading.Lock()
        self._clock = threading.Lock()
        self._shift_s = 0.0
        self._done = cluster.done
        strangers = Strangers(cluster)
        self.faults: dict[str, Fault] = {
            "child killed": self.kill_child,
            "supervisor killed": self.kill_supervisor,
            "fork server killed": self.kill_fork_server,
            "supervisor and fork server killed": self.kill_both,
            "supervisor stopped": self.stop_supervisor,
            "child stopped": self.stop_child,
            "backend terminated": self.terminate_backend,
            "server restarted": self.restart_server,
            "connections cut": self.cut,
            "reply to COMMIT cut off": self.cut_reply,
            "network stalled": self.stall,
            "backend frozen": self.freeze_backend,
            "clock of the server set": self.set_clock,
            "rows locked by a stranger": strangers.lock_rows,
            "notification queue full": strangers.fill_notification_queue,
        }

    def carry_out(self, planned: list[Planned]) -> None:
        """Cause each fault at its time, and wait for the end of the last one."""
        begin = time.monotonic()
        with ThreadPoolExecutor(_HANDLERS) as handlers:
            begun: list[Future[None]] = []
            for each in planned:
                time.sleep(max(0.0, begin + each.at - time.monotonic()))
                begun.append(handlers.submit(self._retry_until_done, each))
        for each in begun:
            each.result()  # raises the error of a fault that is wrong itself

    def _retry_until_done(self, planned: Planned) -> None:
        """Retry until there is something to break. Only the errors of things that are broken already are ignored."""
        rng = random.Random(planned.seed)  # noqa: S311
        deadline = time.monotonic() + _TRY_FOR_S
        while time.monotonic() < deadline:
            with suppress(*_NOT_NOW):
                if self.faults[planned.name](rng):
                    self._done.counts[planned.name] += 1
                    return
            time.sleep(_TRY_AGAIN_S)
        self._done.counts[f"{planned.name}: no chance to"] += 1

    def _ready(self, rng: random.Random) -> Place | None:
        return choice(rng, [place for place in self._cluster.places if is_ready(place.worker) and lives(_pid(place))])

    def kill_child(self, rng: random.Random) -> bool:
        """Kill a child with SIGKILL."""
        return self._signal_child(rng, signal.SIGKILL)

    def stop_child(self, rng: random.Random) -> bool:
        """Stop a child with SIGSTOP. Its interpreter no longer runs, and its supervisor gets no notice of that."""
        return self._signal_child(rng, signal.SIGSTOP)

    def _signal_child(self, rng: random.Random, number: signal.Signals) -> bool:
        place = self._ready(rng)
        child = None if place is None or place.worker is None else choice(rng, place.worker.children())
        if child is not None:
            child.send_signal(number)
        return child is not None

    def kill_supervisor(self, rng: random.Random) -> bool:
        """Kill a supervisor with SIGKILL. Its fork server must recover its tasks within 2 seconds."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        ids = self._worker_ids(place.worker)
        place.disturbed_at = time.monotonic()
        place.worker.signal(signal.SIGKILL)
        self._watch_recovery(place, ids, "the work of a killed supervisor", time.monotonic())
        return True

    def kill_fork_server(self, rng: random.Random) -> bool:
        """Kill a fork server with SIGKILL."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        place.disturbed_at = time.monotonic()
        place.worker.fork_server().kill()
        return True

    def kill_both(self, rng: random.Random) -> bool:
        """Kill supervisor and fork server at the same moment. The next worker on this host must recover the tasks."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        worker = place.worker
        fork_server, ids = worker.fork_server(), self._worker_ids(worker)
        place.disturbed_at = time.monotonic()
        with place.lock:  # so that the next worker is not started before both are dead
            worker.signal(signal.SIGSTOP)
            fork_server.suspend()
            fork_server.kill()
            worker.signal(signal.SIGKILL)
        deadline = time.monotonic() + _TRY_FOR_S
        while time.monotonic() < deadline and (place.worker is worker or not is_ready(place.worker)):
            time.sleep(_TRY_AGAIN_S / 5)
        self._watch_recovery(place, ids, "the work of a supervisor killed with its fork server", time.monotonic())
        return True

    def _worker_ids(self, worker: WorkerProcess) -> list[object]:
        with self._cluster.connect() as session:
            return [row[0] for row in session.execute("select id from horsies.workers where pid = %s", (worker.pid,))]

    def _watch_recovery(self, place: Place, ids: list[object], what: str, begin: float) -> None:
        """Measure how long the recovery of dead workers takes, unless the database was unreachable meanwhile."""
        if not ids:
            return
        deadline = begin + _TRY_FOR_S
        with suppress(psycopg.Error), self._cluster.connect() as session:
            while time.monotonic() < deadline:
                row = session.execute(_NOTHING_LEFT, {"ids": ids}).fetchone()
                if row == (True,):
                    break
                time.sleep(_TRY_AGAIN_S / 5)
            end = time.monotonic()
            is_direct = place.url == self._cluster.observer_url
            if is_direct and self._cluster.has_been_calm_since(begin - _CALM_S):
                timing = Timing(what, end - begin, RECOVERED_WITHIN_S * pressure())
                self._done.recoveries.append(timing)

    def stop_supervisor(self, rng: random.Random) -> bool:
        """Stop a supervisor with SIGSTOP for longer than its threshold, then let it continue."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        worker = place.worker
        place.disturbed_at = time.monotonic()
        worker.signal(signal.SIGSTOP)
        time.sleep(self._cluster.stale_s + rng.uniform(1.5, 3))
        place.disturbed_at = time.monotonic()
        with suppress(ProcessLookupError):
            worker.signal(signal.SIGCONT)
        return True

    def terminate_backend(self, rng: random.Random) -> bool:
        """Call pg_terminate_backend for a random connection of a worker or a producer."""
        with self._cluster.connect() as session:
            found = session.execute(
                "select pid from pg_stat_activity where application_name like 'horsies%' order by pid"
            ).fetchall()
            pid = choice(rng, found)
            return pid is not None and session.execute("select pg_terminate_backend(%s)", pid).fetchone() == (True,)

    def restart_server(self, _rng: random.Random) -> bool:
        """Crash the server, and start it again."""
        with self._database, self._cluster.disturbed(heartbeats=True):
            self._server.crash()
            self._server.start()
        return True

    def freeze_backend(self, rng: random.Random) -> bool:
        """Stop a server process of a worker or a producer with SIGSTOP, and let it continue after a while.

        A client may have given up its connection meanwhile; then the process finishes what nobody waits for. It is
        released early if it seems to hold a lightweight lock, which stops the whole server.
        """
        with self._cluster.connect() as session:
            found = session.execute(_BACKENDS).fetchall()
        pid = choice(rng, found)
        if pid is None:
            return False
        backend = psutil.Process(*pid)  # after its end, another process with this number gets no signal
        if backend.name() != "postgres":
            return False
        seconds = rng.uniform(*rng.choice(_FREEZES_S))
        release = threading.Timer(seconds, _resume, [backend])
        with self._cluster.disturbed(heartbeats=True):
            release.start()
            try:
                backend.suspend()
                self._wait_while_server_works(seconds)
            finally:
                release.cancel()
                _resume(backend)
        return True

    def _wait_while_server_works(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        blocked = 0
        while time.monotonic() < deadline and blocked < _MOST_BLOCKED_LOOKS:
            time.sleep(min(_LOOK_EVERY_S, max(0.0, deadline - time.monotonic())))
            try:
                with self._cluster.connect() as session:
                    is_blocked = session.execute(_LIGHTWEIGHT_LOCKS).fetchone() != (0,)
            except psycopg.Error:
                return
            blocked = blocked + 1 if is_blocked else 0

    def set_clock(self, rng: random.Random) -> bool:
        """Set the clock of the server by ten minutes: forward, or back and then forward again.

        The clock never stays behind: a retry that is due at a time would then wait until the clock has come there
        again. No worker may be declared dead for such a step.
        """
        with self._clock:
            for seconds in rng.choice([(_STEP_S,), (-_STEP_S, _STEP_S)]):
                begin = time.monotonic()
                seen = {place.name: (place.worker, _count_fenced(place)) for place in self._undisturbed(begin)}
                self._shift_s += seconds
                self._write_shift()
                time.sleep(_SEEN_WITHIN_S)
                for place in self._undisturbed(begin):
                    worker, fenced = seen.get(place.name, (None, 0))
                    if worker is place.worker and _count_fenced(place) > fenced:
                        what = f"the worker {place.name!r} was declared dead after a step of {seconds:+.0f} s"
                        self._done.fenced.append(what)
        return True

    def _write_shift(self) -> None:
        """Set the clock, and repeat that while the server cannot be reached."""
        deadline = time.monotonic() + _TRY_FOR_S
        while True:
            try:
                with self._cluster.connect() as session:
                    session.execute(_SET_CLOCK, (self._shift_s,))
                    return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_TRY_AGAIN_S)

    def _undisturbed(self, begin: float) -> list[Place]:
        """Return the places with a direct connection whose heartbeats no fault has disturbed recently."""
        if not self._cluster.has_had_heartbeats_since(begin - _SETTLING_S):
            return []
        return [
            place
            for place in self._cluster.places
            if place.url == self._cluster.observer_url
            and is_ready(place.worker)
            and place.disturbed_at < begin - _SETTLING_S
        ]

    def cut(self, rng: random.Random) -> bool:
        """Close all connections of a proxy after a random number of further bytes."""
        direction = rng.choice(["to server", "to client"])
        return self._cut_after(rng, rng.randrange(4000), direction)

    def cut_reply(self, rng: random.Random) -> bool:
        """Close all connections of a proxy at the next reply, whose request the server has already executed."""
        return self._cut_after(rng, 0, "to client")

    def _cut_after(self, rng: random.Random, size: int, direction: str) -> bool:
        proxy = choice(rng, self._cluster.proxies)
        if proxy is None:
            return False
        proxy.cut_after(size, direction)
        deadline = time.monotonic() + _TRY_FOR_S / 2
        while direction in proxy._left and time.monotonic() < deadline:
            time.sleep(_TRY_AGAIN_S / 5)
        return direction not in proxy._left

    def stall(self, rng: random.Random) -> bool:
        """Forward nothing for a while, without closing any connection."""
        proxy = choice(rng, self._cluster.proxies)
        if proxy is None:
            return False
        proxy.stall(*rng.choice([(), ("to server",), ("to client",)]))
        time.sleep(rng.choice([rng.uniform(0.2, 2), self._cluster.stale_s + 2]))
        proxy.resume()
        return True


def _resume(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.resume()


def _count_fenced(place: Place) -> int:
    return 0 if place.worker is None else place.worker.log().count("worker.fenced")


def _pid(place: Place) -> int:
    return place.worker.pid if place.worker is not None else 0


def fail_over(primary: PostgresServer, standby: PostgresServer, spare: PostgresServer) -> None:
    """Crash the primary, promote its standby, and create a copy as the next standby."""
    primary.crash()
    standby.promote()
    spare.copy(standby)
    spare.start()
    standby.wait_for_copies(1)
