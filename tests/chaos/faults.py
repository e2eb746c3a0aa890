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

HANDED_ON_WITHIN_S = 2.0
_TRY_FOR_S = 20.0
_TRY_AGAIN_S = 0.1
_CALM_S = 3.0
_HANDLERS = 24
_NOTHING_LEFT = """
    select not exists (select from horsies.workers where id = any (%(ids)s))
       and not exists (select from horsies.tasks where worker_id = any (%(ids)s))
"""

type Fault = Callable[[random.Random], bool]
"""Breaks something; False: there was nothing to break just now."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a plan: when, which, and the seed of what is left to chance in it."""

    at: float
    name: str
    seed: int


def plan(seed: str, counts: Mapping[str, int], seconds: float) -> list[Planned]:
    """Spread so many faults of each name over a time, at random."""
    rng = random.Random(seed)  # noqa: S311
    every = [name for name, count in sorted(counts.items()) for _ in range(count)]
    found = [Planned(rng.uniform(0, seconds), name, rng.getrandbits(32)) for name in every]
    return sorted(found, key=lambda planned: planned.at)


class Breaker:
    """Carries a plan out."""

    def __init__(self, cluster: Cluster, server: PostgresServer) -> None:
        """Take what is to be broken."""
        self._arena = cluster
        self._server = server
        self._database = threading.Lock()
        self._done = cluster.done
        self.faults: dict[str, Fault] = {
            "child killed": self.kill_child,
            "supervisor killed": self.kill_supervisor,
            "fork server killed": self.kill_template,
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
        """Break everything when it is due, and wait for the last one to be over."""
        begin = time.monotonic()
        with ThreadPoolExecutor(_HANDLERS) as handlers:
            for each in planned:
                time.sleep(max(0.0, begin + each.at - time.monotonic()))
                handlers.submit(self._insist, each)

    def _insist(self, planned: Planned) -> None:
        """Try until there is something to break."""
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
        return choice(rng, [place for place in self._arena.places if is_ready(place.worker) and lives(_pid(place))])

    def kill_child(self, rng: random.Random) -> bool:
        """SIGKILL."""
        return self._signal_child(rng, signal.SIGKILL)

    def stop_child(self, rng: random.Random) -> bool:
        """SIGSTOP: its interpreter runs no more, and nobody tells its supervisor."""
        return self._signal_child(rng, signal.SIGSTOP)

    def _signal_child(self, rng: random.Random, number: signal.Signals) -> bool:
        place = self._ready(rng)
        child = None if place is None or place.worker is None else choice(rng, place.worker.children())
        if child is not None:
            child.send_signal(number)
        return child is not None

    def kill_supervisor(self, rng: random.Random) -> bool:
        """SIGKILL; its fork server is to see to the rest, within 2 seconds."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        ids = self._worker_ids(place.worker)
        place.worker.signal(signal.SIGKILL)
        self._watch_handover(place, ids, "the work of a killed supervisor", time.monotonic())
        return True

    def kill_template(self, rng: random.Random) -> bool:
        """SIGKILL."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        place.worker.fork_server().kill()
        return True

    def kill_both(self, rng: random.Random) -> bool:
        """SIGKILL for both, with no time for either to notice: the next worker on this host has to."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        worker = place.worker
        fork_server, ids = worker.fork_server(), self._worker_ids(worker)
        with place.lock:  # so that the next one is not started before both are dead
            worker.signal(signal.SIGSTOP)
            fork_server.suspend()
            fork_server.kill()
            worker.signal(signal.SIGKILL)
        deadline = time.monotonic() + _TRY_FOR_S
        while time.monotonic() < deadline and (place.worker is worker or not is_ready(place.worker)):
            time.sleep(_TRY_AGAIN_S / 5)
        self._watch_handover(place, ids, "the work of a supervisor killed with its fork server", time.monotonic())
        return True

    def _worker_ids(self, worker: WorkerProcess) -> list[object]:
        with self._arena.connect() as session:
            return [row[0] for row in session.execute("select id from horsies.workers where pid = %s", (worker.pid,))]

    def _watch_handover(self, place: Place, ids: list[object], what: str, begin: float) -> None:
        """How long it took until nothing was left with dead workers; not judged if the database was away meanwhile."""
        if not ids:
            return
        deadline = begin + _TRY_FOR_S
        with suppress(psycopg.Error), self._arena.connect() as session:
            while time.monotonic() < deadline:
                row = session.execute(_NOTHING_LEFT, {"ids": ids}).fetchone()
                if row == (True,):
                    break
                time.sleep(_TRY_AGAIN_S / 5)
            end = time.monotonic()
            is_direct = place.url == self._arena.observer_url
            if is_direct and self._arena.calm_since < begin - _CALM_S:
                timing = Timing(what, end - begin, HANDED_ON_WITHIN_S * pressure())
                self._done.handovers.append(timing)

    def stop_supervisor(self, rng: random.Random) -> bool:
        """SIGSTOP, past its threshold; then it goes on, late."""
        place = self._ready(rng)
        if place is None or place.worker is None:
            return False
        worker = place.worker
        worker.signal(signal.SIGSTOP)
        time.sleep(self._arena.stale_s + rng.uniform(1.5, 3))
        with suppress(ProcessLookupError):
            worker.signal(signal.SIGCONT)
        return True

    def terminate_backend(self, rng: random.Random) -> bool:
        """pg_terminate_backend, of any connection of a worker or a producer."""
        with self._arena.connect() as session:
            found = session.execute(
                "select pid from pg_stat_activity where application_name like 'horsies%' order by pid"
            ).fetchall()
            pid = choice(rng, found)
            return pid is not None and session.execute("select pg_terminate_backend(%s)", pid).fetchone() == (True,)

    def restart_server(self, _rng: random.Random) -> bool:
        """Immediate stop, and start."""
        with self._database:
            self._unrest()
            self._server.crash()
            self._server.start()
            self._unrest()
        return True

    def cut(self, rng: random.Random) -> bool:
        """End all connections of a proxy after so many more bytes."""
        direction = rng.choice(["to server", "to client"])
        return self._cut_after(rng, rng.randrange(4000), direction)

    def cut_reply(self, rng: random.Random) -> bool:
        """End them when the next reply comes, and let nothing of it through: what was asked has been done."""
        return self._cut_after(rng, 0, "to client")

    def _cut_after(self, rng: random.Random, size: int, direction: str) -> bool:
        proxy = choice(rng, self._arena.proxies)
        if proxy is None:
            return False
        proxy.cut_after(size, direction)
        deadline = time.monotonic() + _TRY_FOR_S / 2
        while direction in proxy._left and time.monotonic() < deadline:
            time.sleep(_TRY_AGAIN_S / 5)
        return direction not in proxy._left

    def stall(self, rng: random.Random) -> bool:
        """Nothing gets through for a while, and nobody is told."""
        proxy = choice(rng, self._arena.proxies)
        if proxy is None:
            return False
        proxy.stall(*rng.choice([(), ("to server",), ("to client",)]))
        time.sleep(rng.choice([rng.uniform(0.2, 2), self._arena.stale_s + 2]))
        proxy.resume()
        return True

    def _unrest(self) -> None:
        self._arena.calm_since = time.monotonic()


def _pid(place: Place) -> int:
    return place.worker.pid if place.worker is not None else 0


def fail_over(primary: PostgresServer, standby: PostgresServer, spare: PostgresServer) -> None:
    """The primary crashes, its standby takes over, and a copy of that becomes the next standby."""
    primary.crash()
    standby.promote()
    spare.copy(standby)
    spare.start()
    standby.wait_for_copies(1)
