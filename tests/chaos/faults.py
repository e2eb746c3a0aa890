"""The faults of a chaos run: their kinds, number and times. The same seed makes the same plan."""

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import psutil
import psycopg

from tests.chaos.checker import Timing
from tests.chaos.cluster import Cluster, Place, choice, is_ready, pressure
from tests.chaos.servers import PostgresServer
from tests.support.workers import WorkerProcess, lives

RECOVERED_WITHIN_S = 2.0
_TRY_FOR_S = 20.0
_TRY_AGAIN_S = 0.1
_CALM_S = 3.0
_HANDLERS = 24
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
        self._done = cluster.done
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
        }

    def carry_out(self, planned: list[Planned]) -> None:
        """Cause each fault at its time, and wait for the end of the last one."""
        begin = time.monotonic()
        with ThreadPoolExecutor(_HANDLERS) as handlers:
            for each in planned:
                time.sleep(max(0.0, begin + each.at - time.monotonic()))
                handlers.submit(self._retry_until_done, each)

    def _retry_until_done(self, planned: Planned) -> None:
        """Retry until there is something to break."""
        rng = random.Random(planned.seed)  # noqa: S311
        deadline = time.monotonic() + _TRY_FOR_S
        while time.monotonic() < deadline:
            with suppress(psycopg.Error, psutil.Error, ProcessLookupError, ValueError):
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
        place.worker.signal(signal.SIGKILL)
        self._watch_recovery(place, ids, "the work of a killed supervisor", time.monotonic())
        return True

    def kill_fork_server(self, rng: random.Random) -> bool:
        """Kill a fork server with SIGKILL."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        place.worker.fork_server().kill()
        return True

    def kill_both(self, rng: random.Random) -> bool:
        """Kill supervisor and fork server at the same moment. The next worker on this host must recover the tasks."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        worker = place.worker
        fork_server, ids = worker.fork_server(), self._worker_ids(worker)
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
            if is_direct and self._cluster.calm_since < begin - _CALM_S:
                timing = Timing(what, end - begin, RECOVERED_WITHIN_S * pressure())
                self._done.recoveries.append(timing)

    def stop_supervisor(self, rng: random.Random) -> bool:
        """Stop a supervisor with SIGSTOP for longer than its threshold, then let it continue."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        worker = place.worker
        worker.signal(signal.SIGSTOP)
        time.sleep(self._cluster.stale_s + rng.uniform(1.5, 3))
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
        with self._database:
            self._note_disturbance()
            self._server.crash()
            self._server.start()
            self._note_disturbance()
        return True

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

    def _note_disturbance(self) -> None:
        self._cluster.calm_since = time.monotonic()


def _pid(place: Place) -> int:
    return place.worker.pid if place.worker is not None else 0


def fail_over(primary: PostgresServer, standby: PostgresServer, spare: PostgresServer) -> None:
    """Crash the primary, promote its standby, and create a copy as the next standby."""
    primary.crash()
    standby.promote()
    spare.copy(standby)
    spare.start()
    standby.wait_for_copies(1)
