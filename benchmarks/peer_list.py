"""The libraries that `peers.py` compares: their versions, where they keep outcomes, and the cases that they have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CASES = {
    "drain_sync": "drain of `def` tasks, 2 processes",
    "drain_async": "drain of `async def` tasks, 2 processes, 100 at a time in each",
    "send_1": "single sends, 1 coroutine",
    "send_16": "single sends, 16 concurrent coroutines",
    "bulk": "bulk send of 10,000 tasks",
    "latency": "idle, from the send to the result",
}


@dataclass(frozen=True)
class Postgres:
    """Where a peer keeps its rows: the tables that are emptied, and a query for the times of outcomes in seconds."""

    tables: str
    outcomes: str


@dataclass(frozen=True)
class Counts:
    """How many tasks a case has. Slow peers get fewer, so that the whole ends in time."""

    drained: int
    sent: int
    bulk: int
    latencies: int


@dataclass(frozen=True)
class Peer:
    """One library of the comparison."""

    name: str
    program: str
    installed: tuple[str, ...]
    """Packages with versions for its virtual environment; empty if it runs in ours."""
    postgres: Postgres | None
    """None if it uses Redis."""
    counts: Counts
    configuration: str
    """What docs say about its version and options, whether it stores results, and how durable it is."""
    commands: int = 1
    """How many workers are started so that there are two processes."""
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """The cases that it does not have, with the reason."""

    @property
    def key(self) -> str:
        """Return the name of its virtual environment and of its database."""
        return self.program.removeprefix("with_").removesuffix(".py")


OUTCOMES = "select extract(epoch from finished_at)::float8 from horsies.history"
HORSIES = Postgres("horsies.tasks, horsies.history, horsies.attempts, horsies.workers", OUTCOMES)
FAST = Counts(drained=20_000, sent=2_000, bulk=10_000, latencies=200)
MIDDLE = Counts(drained=3_000, sent=1_000, bulk=10_000, latencies=100)
SLOW = Counts(drained=300, sent=300, bulk=10_000, latencies=20)
QUICK = Counts(drained=600, sent=20, bulk=50, latencies=3)
ONE_MESSAGE = "has no bulk send: each task is one message"
REDIS = "Redis with `appendonly yes` and `appendfsync always`, so that each write is on the disk before it is answered"

FLOOR = "floor"
FLOOR_MISSING = {
    "drain_async": "runs no code of tasks",
    "send_16": "has one connection",
    "latency": "waits for no result",
}
FLOOR_CONFIGURATION = (
    "plain psycopg with the statements, batches and rows of horsies: two connections drain, and one connection sends"
)

PEERS = (
    Peer(
        "horsies",
        "with_horsies.py",
        (),
        HORSIES,
        FAST,
        "this version, `--processes=2`; `--concurrency=100` for `async def` tasks. Results are stored, and are not in"
        " notifications, which is the default. Commits are synchronous",
    ),
    Peer(
        "procrastinate",
        "with_procrastinate.py",
        ("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
        Postgres(
            "procrastinate_jobs, procrastinate_events cascade",
            "select extract(epoch from at)::float8 from procrastinate_events where type = 'succeeded'",
        ),
        MIDDLE,
        "two workers; `concurrency=100` for `async def` tasks, and 1 for `def` tasks, as its guide recommends."
        " It keeps jobs with their status, and stores no results. Commits are synchronous",
        commands=2,
        missing={"latency": "cannot wait for a job"},
    ),
    Peer(
        "pgqueuer",
        "with_pgqueuer.py",
        ("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
        Postgres(
            "pgqueuer, pgqueuer_log",
            "select extract(epoch from created)::float8 from pgqueuer_log where status = 'successful'",
        ),
        FAST,
        "asyncpg; two workers with uvloop and `batch_size=100`, and logged tables. It has only coroutines, so"
        " `drain_sync` has them, too. It logs the status of jobs, and stores no results: latency is the time until"
        " its `CompletionWatcher` with a debounce of 1 ms sees the status. Commits are synchronous",
        commands=2,
    ),
    Peer(
        "Celery",
        "with_celery.py",
        ("celery[redis]==5.7.0", "hiredis==3.5.0"),
        None,
        FAST,
        "prefork with `--concurrency=2`, `worker_prefetch_multiplier=128`, without gossip, mingle and heartbeats, and"
        f" with hiredis. Results are stored. {REDIS}. A task is acknowledged before it runs, which is the default",
        missing={"drain_async": "runs no `async def` tasks", "bulk": ONE_MESSAGE},
    ),
    Peer(
        "dramatiq",
        "with_dramatiq.py",
        ("dramatiq[redis]==2.2.1", "hiredis==3.5.0"),
        None,
        FAST,
        "`--processes=2` with 8 threads each, which is the default, and with 100 threads for `async def` tasks;"
        f" `dramatiq_queue_prefetch=200`, with hiredis. Results are stored. {REDIS}. A task is acknowledged after it"
        " has run",
        missing={"bulk": ONE_MESSAGE},
    ),
    Peer(
        "DBOS",
        "with_dbos.py",
        ("dbos==3.4.0",),
        Postgres(
            "dbos.workflow_status cascade",
            "select completed_at / 1000.0::float8 from dbos.workflow_status where status = 'SUCCESS'",
        ),
        SLOW,
        "two processes with `worker_concurrency` 16 for `def` and 100 for `async def` workflows; its queues and"
        " its results are polled each 50 ms instead of each second. Results are stored. Commits are synchronous",
        commands=2,
        missing={"bulk": "has no bulk send: each workflow is one call"},
    ),
    Peer(
        "horsies 0.5",
        "with_horsies_0.py",
        ("horsies[pg-binary]==0.5.4",),
        Postgres(
            "horsies_tasks, horsies_task_history cascade",
            "select extract(epoch from terminal_at)::float8 from horsies_task_history",
        ),
        SLOW,
        "version 0.5.4, the library before this one: `--processes=2`, `prefetch_buffer=16`. Results are stored."
        " Commits are synchronous",
        missing={"drain_async": "runs no `async def` tasks", "bulk": "has no bulk send"},
    ),
)
