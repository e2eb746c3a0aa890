"""What the benchmarks of keys and rates share: queues with limits, rows with keys, and claims that count blocks."""

import json
import statistics
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import crowd
import floor
import psycopg
from psycopg.types.json import Json

from horsies.db.queries.flow import QueueFlow, declare_queues
from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Fence, claim, finish, worker_start

CLAIMED = 20
"""How many tasks a measured claim asks for."""

PLAIN = QueueFlow("default", takes_turns=False, per_key=None, rate=None, rate_per_key=None)
TURNS = PLAIN._replace(takes_turns=True)

_EXPLAIN = """
    explain (analyze, buffers, timing off, format json)
    select * from horsies.claim(%s, %s, %s, %s, null, %s, %s, false, %s)
"""
_TASKS = """
    insert into horsies.tasks
        (id, task_name, queue, priority, args, run_at, sent_at, fingerprint, task_key, turn_key)
    select md5('{prefix}' || n)::uuid, 'noop', 'default', 100, '{{"number":1}}',
           now() - interval '1 hour' + n * interval '1 us', now(), '\\x00', key, {turn_key}
    from generate_series(1, {count}) as n
    cross join lateral (select '{prefix}' || to_char(n % {keys}, 'FM000000')) as k (key)
"""


def waiting(keys: int, each: int, *, prefix: str = "k", turns: bool = True) -> str:
    """Return the SQL that lets tasks of each of many keys wait, interleaved; without turns, in order of arrival."""
    return _TASKS.format(prefix=prefix, keys=keys, count=keys * each, turn_key="key" if turns else "null")


@contextmanager
def queue(url: str, fill: str | None, declared: QueueFlow = PLAIN) -> Generator[str]:
    """Create a database in which the queue `default` is declared like this, and has these rows."""
    with crowd.place(url, fill) as place:
        with floor.connect(place) as connection:
            floor.ask(connection, declare_queues([declared]))
        yield place


@dataclass
class KeyedWorker:
    """A registered worker whose claims and finishes a benchmark makes, one by one."""

    connection: psycopg.Connection[tuple[object, ...]]
    id: UUID = field(default_factory=uuid4)
    exchange: int = 0
    cursors: bytes | None = None
    due_in: float | None = None

    def __post_init__(self) -> None:
        floor.ask(self.connection, worker_start(self.id, floor.FACTS))

    def claim(self, wanted: int = CLAIMED) -> list[ClaimedTask]:
        """Claim tasks, from where the turns of the last claim stopped."""
        self.exchange += 1
        asked = claim(self.id, self.exchange, wanted, ["default"], ["noop"], free=wanted, cursors=self.cursors)
        found = floor.ask(self.connection, asked)
        self.due_in = found.due_in
        if found.cursors is not None:
            self.cursors = found.cursors if found.due_in == 0 else _rewound(found.cursors)
        return found.tasks

    def finish(self, tasks: Sequence[UUID], exchange: int | None = None) -> None:
        """End tasks that this worker has claimed, by default with its last claim."""
        fences = [Fence(task, exchange or self.exchange) for task in tasks]
        floor.ask(self.connection, finish(self.id, "floor", [floor.outcome(fence) for fence in fences]))

    def explain(self, after: str | None = None) -> tuple[int, float]:
        """Claim tasks after a key and end them. Return the blocks that the claim read, and its milliseconds."""
        self.exchange += 1
        cursors = None if after is None else Json({"default": {"100": {"after": after}}})
        params = (self.id, self.exchange, CLAIMED, CLAIMED, ["default"], ["noop"], cursors)
        row = self.connection.execute(_EXPLAIN.encode(), params).fetchone()
        assert row is not None
        assert isinstance(row[0], bytes)
        plan = json.loads(row[0])[0]
        mine = "select id from horsies.tasks where worker_id = %s and exchange_no = %s"
        found = self.connection.execute(mine, (self.id, self.exchange)).fetchall()
        assert len(found) == CLAIMED, f"the claim has got {len(found)} tasks"
        self.finish([row[0] for row in found if isinstance(row[0], UUID)])
        top = plan["Plan"]
        return top["Shared Hit Blocks"] + top["Shared Read Blocks"], plan["Execution Time"]


def _rewound(cursors: bytes) -> bytes:
    """Let every walk over keys begin again, as a worker does after a claim that did not stop at its bound."""
    positions: dict[str, dict[str, dict[str, Any]]] = json.loads(cursors)
    return json.dumps(
        {
            queue: {priority: {"after": position.get("after")} for priority, position in of_queue.items()}
            for queue, of_queue in positions.items()
        }
    ).encode()


def drain_rate(worker: KeyedWorker, rounds: int) -> float:
    """Claim and finish tasks for some rounds over one connection; return the tasks per second."""
    start = time.perf_counter()
    for _ in range(rounds):
        tasks = worker.claim()
        assert len(tasks) == CLAIMED
        worker.finish([task.id for task in tasks])
    return rounds * CLAIMED / (time.perf_counter() - start)


def median_blocks(worker: KeyedWorker, keys: Sequence[str | None]) -> tuple[float, float]:
    """Return the median of the blocks and of the milliseconds of claims that begin after these keys."""
    found = [worker.explain(key) for key in keys]
    return statistics.median(blocks for blocks, _ in found), statistics.median(ms for _, ms in found)
