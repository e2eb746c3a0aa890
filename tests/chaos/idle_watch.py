"""Watches in a chaos run of keys which workers have an idle child, and which keys have a task that could start."""

import re
import threading
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from horsies import RateLimit
from tests.chaos.cluster import Cluster, Place, is_ready
from tests.chaos.key_checker import Sample, Startable

_EVERY_S = 0.15
_CALM_AFTER_S = 2.0
"""How long a worker must not have lost a child or a connection before its idle children count."""

_DISTURBED = re.compile(r"\b(?:child\.\w+|connection\.\w+|heartbeat\.\w+|tasks\.lost|worker\.\w+) ")

# The rule is written here once more, without the functions that claims use. Rates do not change during a run, so the
# stream of tokens grows from `changed_at` on. A bucket has a token if it has used the stream up to one token before its
# end. A queue or a key that has just got a token does not count, because of rounding.
_LOOK = """
    with clock as materialized (select clock_timestamp() as at),
    full_buckets as (
        select b.queue, b.scope, b.key from horsies.buckets b join horsies.rates r using (queue, scope), clock
        where b.used_to / 1e9 + 1 > (r.produced / 1e9)::float8 + extract(epoch from clock.at - r.changed_at)
              * case b.scope when 'queue' then %(queue_rate)s else %(key_rate)s end
    ),
    held as (select h.queue, h.scope, h.key from horsies.holds h, clock where h.until > clock.at),
    blocked as (select * from full_buckets union all select * from held),
    startable as (
        select t.queue, t.task_key as key
        from horsies.tasks t
        where not exists (select from blocked b where b.queue = t.queue and b.scope = 'queue')
          and not exists (select from blocked b where b.queue = t.queue and b.scope = 'key' and b.key = t.task_key)
        group by t.queue, t.task_key
        having bool_or(t.status = 'PENDING' and not t.held and t.run_at <= (select at from clock))
           and count(*) filter (where t.status <> 'PENDING') < right(t.queue, 1)::int
    ),
    idle as (
        select w.pid from horsies.workers w
        where w.processes > (select count(*) from horsies.tasks t where t.worker_id = w.id and t.status <> 'PENDING')
    )
    select (select extract(epoch from at)::float8 from clock),
           array(select pid from idle),
           array(select array[queue, key] from startable)
"""


class IdleWatch:
    """Looks at the database and at the logs of workers, in a thread, until `stop`."""

    def __init__(self, cluster: Cluster, rate: RateLimit, rate_per_key: RateLimit) -> None:
        """Prepare to watch a cluster. The rates are those of its queues and of their keys."""
        self.samples: list[Sample] = []
        self._cluster = cluster
        self._limits = {"queue_rate": _per_second(rate), "key_rate": _per_second(rate_per_key)}
        self._calm: dict[int, tuple[int, float]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> Sequence[Sample]:
        """End, and return what was seen."""
        self._closing.set()
        self._thread.join()
        return self.samples

    def _watch(self) -> None:
        with self._cluster.connect() as session:
            while not self._closing.wait(_EVERY_S):
                with suppress(psycopg.errors.LockNotAvailable):
                    self._look(session)

    def _look(self, session: psycopg.Connection) -> None:
        row = session.execute(_LOOK, self._limits).fetchone()
        assert row is not None
        at, idle, startable = row
        calm = {pid for place in self._cluster.places for pid in [self._calm_pid(place, at)] if pid is not None}
        keys = frozenset(Startable(queue, key) for queue, key in startable)
        self.samples.append(Sample(at, frozenset(calm & set(idle)), keys))

    def _calm_pid(self, place: Place, at: float) -> int | None:
        """Return the process id of the worker of a place if nothing has disturbed it for a while."""
        worker = place.worker
        if not is_ready(worker) or worker is None:
            return None
        disturbances = len(_DISTURBED.findall(worker.log()))
        known, since = self._calm.get(worker.pid, (-1, at))
        if known != disturbances:
            since = at
        self._calm[worker.pid] = disturbances, since
        return worker.pid if at - since >= _CALM_AFTER_S else None


def _per_second(rate: RateLimit) -> float:
    return rate.limit / rate.per_seconds
