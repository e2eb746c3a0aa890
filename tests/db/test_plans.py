"""Query plans of the server functions: index scans, few rows and few buffers, even with full tables."""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import Diagnostic
from uuid_utils.compat import uuid7

from horsies.db.queries import tasks as task_queries
from horsies.db.queries.worker import Fence
from tests.support.databases import new_database
from tests.support.factories import (
    DrivenWorker,
    batch_of,
    done,
    enqueue,
    expire,
    failed,
    numbered_id,
    reap,
    request,
    send_once,
    unique,
)
from tests.support.planner import take_for_empty
from tests.support.server import Server
from tests.support.sessions import Session, call, open_session

MANY = 100_000
FUTURE, DUE, ENDED, JUST_SENT, NEVER_SENT, FOREIGN, BEHIND = range(1_000_000, 8_000_000, 1_000_000)
_AUTO_EXPLAIN = {
    "log_min_duration": "0",
    "log_nested_statements": "on",
    "log_analyze": "on",
    "log_timing": "off",
    "log_format": "json",
    "log_level": "notice",
}

_FILL = """
    insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select (%s || lpad(to_hex(n), 12, '0'))::uuid, %s, %s, 100, '{}', horsies.now() + make_interval(secs => %s + n),
           horsies.now(), 'x'
    from generate_series(%s::int, %s::int) as n
"""
_FILL_FOREIGN = """
    insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select (%s || lpad(to_hex(n), 12, '0'))::uuid, 'foreign ' || n %% 10, 'default', 100, '{}',
           horsies.now() - interval '1 hour', horsies.now(), 'x'
    from generate_series(1, %s::int) as n
"""
_FILL_HISTORY = """
    insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,
                                 finished_at, fingerprint)
    select (%s || lpad(to_hex(n), 12, '0'))::uuid, 'add', 'default', 100, '{}', 'COMPLETED', '1', horsies.now(), 1,
           horsies.now(), horsies.now(), 'x'
    from generate_series(%s::int, %s::int) as n
"""
_READS = """
    select c.relname, c.relkind, pg_stat_get_xact_numscans(c.oid), pg_stat_get_xact_tuples_returned(c.oid),
           pg_stat_get_xact_blocks_fetched(c.oid)
    from pg_class c where c.relnamespace = 'horsies'::regnamespace and c.relkind in ('r', 'i')
"""
_PREFIX = str(numbered_id(0))[:24]


@dataclass
class Reads:
    """The reads of a transaction: scans and returned rows of each index and table, and the number of blocks."""

    indexes: dict[str, int] = field(default_factory=dict[str, int])
    whole_tables: set[str] = field(default_factory=set[str])
    rows: int = 0
    blocks: int = 0


@contextmanager
def reading(session: Session) -> Generator[Reads]:
    """Count the reads within the block, and roll it back."""
    reads = Reads()
    with session.transaction(force_rollback=True):
        before = {name: counts for name, _, *counts in session.execute(_READS)}
        yield reads
        for name, kind, *counts in session.execute(_READS):
            scans, rows, blocks = (now - then for now, then in zip(counts, before[name], strict=True))
            reads.blocks += blocks
            if scans:
                reads.rows += rows
                if kind == "i":
                    reads.indexes[name] = scans
                else:
                    reads.whole_tables.add(name)


def fill(
    session: Session, first: int, *, name: str = "add", queue: str = "default", due_in: float, count: int = MANY
) -> None:
    session.execute(_FILL, (_PREFIX, name, queue, due_in - first, first, first + count - 1))


@pytest.fixture(scope="module", params=["without statistics", "with statistics", "taken for empty"])
def statistics(request: pytest.FixtureRequest) -> str:
    """Return what the planner knows about the tables."""
    return str(request.param)


@pytest.fixture(scope="module")
def full_url(server: Server, template: str, statistics: str) -> Iterator[str]:
    """Create 100,000 scheduled tasks, and as many due ones in another queue, of an unknown name, and ended."""
    with new_database(server, template) as url:
        with open_session(url) as session:
            session.execute("alter table horsies.tasks set (autovacuum_enabled = off)")
            fill(session, FUTURE, due_in=3600)
            fill(session, DUE, queue="busy", due_in=-2 * MANY)
            fill(session, FOREIGN, name="unknown", queue="mixed", due_in=-2 * MANY)
            session.execute(_FILL_HISTORY, (_PREFIX, ENDED, ENDED + MANY - 1))
            if statistics == "with statistics":
                session.execute("analyze")
        yield url


@pytest.fixture
def full(full_url: str, statistics: str) -> Iterator[Session]:
    """Yield a new session without cached plans. Its changes are rolled back, and rows of earlier rollbacks removed."""
    with open_session(full_url) as session:
        session.execute("vacuum (index_cleanup true) horsies.tasks")
        session.execute("vacuum horsies.workers")
        if statistics == "taken for empty":
            take_for_empty(session)
        with session.transaction(force_rollback=True):
            yield session


def send_due(session: Session, count: int = 20) -> None:
    fill(session, JUST_SENT, due_in=-3600, count=count)


QUEUES = pytest.mark.parametrize("queues", [["default"], ["other", "default", "third"]], ids=["one queue", "three"])
CLAIM_READS = {"tasks_to_claim", "tasks_pkey", "workers_pkey", "queues_pkey"}
BY_NAME = {"tasks_by_name", "tasks_by_name_and_priority"}
IN_FLIGHT = {"tasks_in_flight", "tasks_pkey"}


@QUEUES
def test_a_claim_reads_the_tasks_it_takes_and_no_scheduled_ones(full: Session, queues: list[str]) -> None:
    worker = DrivenWorker(full, queues=queues)
    send_due(full)
    with reading(full) as reads:
        assert len(worker.claim(10)) == 10
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= CLAIM_READS
    assert reads.rows < 100
    assert reads.blocks < 300


@QUEUES
def test_a_claim_from_a_long_queue_reads_its_head_only(full: Session, queues: list[str]) -> None:
    worker = DrivenWorker(full, queues=[*queues[1:], "busy"])
    with reading(full) as reads:
        assert len(worker.claim(100)) == 100
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= CLAIM_READS
    assert reads.rows < 500
    assert reads.blocks < 2000


def test_an_urgent_task_is_claimed_next_however_many_others_wait(full: Session) -> None:
    worker = DrivenWorker(full, queues=["busy"])
    urgent = request(queue="busy", priority=1)
    assert enqueue(full, urgent) == "sent"
    with reading(full) as reads:
        (fence,) = worker.claim(1)
    assert fence.task_id == urgent.task_id
    assert reads.rows < 100
    assert reads.blocks < 300


@pytest.mark.parametrize("cap", [0, 2])
def test_a_claim_from_a_long_capped_queue_reads_its_head_only(full: Session, cap: int) -> None:
    worker = DrivenWorker(full, caps={"busy": cap})
    with reading(full) as reads:
        assert len(worker.claim(10)) == cap
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= CLAIM_READS | {"tasks_in_flight", "locks_pkey"}
    assert reads.rows < 400
    assert reads.blocks < 1000


@QUEUES
@pytest.mark.parametrize("count", [0, 20])
def test_a_claim_gets_by_a_backlog_of_names_it_does_not_know(full: Session, queues: list[str], count: int) -> None:
    worker = DrivenWorker(full, queues=[*queues[1:], "mixed"], names=["add", "never sent", "neither"])
    fill(full, BEHIND, queue="mixed", due_in=-3600, count=count)
    with reading(full) as reads:
        assert len(worker.claim(20)) == count
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= CLAIM_READS | BY_NAME
    assert reads.rows < 300
    assert reads.blocks < 1000


def test_a_claim_goes_by_name_although_statistics_make_its_name_seem_as_common_as_others(db: Session) -> None:
    db.execute(_FILL_FOREIGN, (_PREFIX, MANY))
    db.execute("vacuum analyze horsies.tasks")
    fill(db, BEHIND, due_in=-60, count=1)
    with reading(db) as reads:
        assert len(DrivenWorker(db).claim(10)) == 1
    assert reads.rows < 300
    assert reads.blocks < 1000


@QUEUES
def test_an_idle_claim_reads_next_to_nothing(full: Session, queues: list[str]) -> None:
    worker = DrivenWorker(full, queues=queues)
    with reading(full) as reads:
        claim = worker.ask(10)
    assert claim.tasks == []
    assert claim.due_in is not None
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= CLAIM_READS
    assert reads.rows < 10
    assert reads.blocks < 150


@QUEUES
@pytest.mark.parametrize("wanted", [1, 10])
def test_a_claim_that_was_made_often_is_not_planned_worse(full: Session, queues: list[str], wanted: int) -> None:
    worker = DrivenWorker(full, queues=[*queues[1:], "busy"])
    for _ in range(30):
        worker.claim(wanted)
    with reading(full) as reads:
        assert len(worker.claim(wanted)) == wanted
    assert reads.indexes.keys() <= CLAIM_READS
    assert reads.rows < 50 + 100 * wanted  # claimed rows stay in the index while the transaction is open
    assert reads.blocks < 150 + 50 * wanted


ON_CLAIMS: dict[str, Callable[[DrivenWorker, list[Fence]], object]] = {
    "done": lambda worker, fences: worker.finish(*map(done, fences)),
    "failed": lambda worker, fences: worker.finish(*map(failed, fences)),
    "release": lambda worker, fences: worker.release(*fences),
    "reconcile": lambda worker, _fences: worker.reconcile(),
    "confirm": lambda worker, fences: worker.reconcile(*fences),
}


@pytest.mark.parametrize("name", ON_CLAIMS)
@pytest.mark.parametrize("count", [1, 20])
def test_what_is_done_to_claims_reads_them_by_key_and_no_history(full: Session, name: str, count: int) -> None:
    worker = DrivenWorker(full)
    send_due(full)
    fences = worker.claim(count)
    with reading(full) as reads:
        ON_CLAIMS[name](worker, fences)
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= IN_FLIGHT
    assert reads.rows < 10 + 10 * count
    # The first call of a function plans its statements, which reads the root of each index. A scan reads thousands.
    assert reads.blocks < 300 + 30 * count


def test_an_outcome_that_is_not_accepted_is_looked_for_by_key(full: Session) -> None:
    worker = DrivenWorker(full)
    with reading(full) as reads:
        assert worker.finish(done(Fence(numbered_id(ENDED), 1))) == ["stale"]
    assert reads.whole_tables == set()
    assert reads.rows < 10
    assert reads.blocks < 200


def test_a_first_send_looks_nowhere_else(full: Session) -> None:
    with reading(full) as reads:
        assert enqueue(full, request()) == "sent"
    assert reads.indexes.keys() | {"queues_pkey"} == {"tasks_pkey", "queues_pkey"}
    assert reads.blocks < 30


def send_many(session: Session, count: int, *, replay: bool = False) -> None:
    """Send tasks of five kinds."""
    wanted = [request(priority=1 + number % 5) for number in range(count)]
    assert call(session, task_queries.enqueue_many(batch_of(wanted), replay=replay)) is None


@pytest.mark.parametrize("count", [10, 1000])
def test_a_first_send_of_many_tasks_looks_nowhere_else(full: Session, count: int) -> None:
    with reading(full) as reads:
        send_many(full, count)
    assert reads.whole_tables <= {"queues"}
    assert reads.indexes.keys() <= {"queues_pkey"}
    # The first call of a function plans its statements, which reads the root of each index. A scan reads thousands.
    assert reads.blocks < 300 + 30 * count


@pytest.mark.parametrize("count", [10, 1000])
def test_a_replay_of_many_tasks_looks_for_each_by_key(full: Session, count: int) -> None:
    with reading(full) as reads:
        send_many(full, count, replay=True)
    assert reads.whole_tables == set()
    assert all(index.endswith("_pkey") for index in reads.indexes)
    assert reads.rows < 10 + 2 * count
    assert reads.blocks < 300 + 80 * count  # includes a search of each partition of the history


@pytest.mark.parametrize(
    ("on_conflict", "verdict"), [("keep", "existing"), ("replace", "replaced"), ("reject", "duplicate")]
)
def test_keys_and_unique_tasks_are_found_by_their_indexes(full: Session, on_conflict: str, verdict: str) -> None:
    wanted = unique(on_conflict=on_conflict)
    with reading(full) as reads:
        verdicts = [send_once(full, request(key=key, unique=wanted))[0] for key in ("a", "a", "b")]
    assert verdicts == ["sent", "existing", verdict]
    assert reads.whole_tables == set()
    assert reads.indexes.keys() >= {"tasks_pkey", "tasks_holds_unique", "idempotency_keys_pkey"}
    others = reads.indexes.keys() - {"tasks_holds_unique", "replacements_by_request"}
    assert all(index.endswith("_pkey") for index in others)
    assert reads.rows < 20
    assert reads.blocks < 400  # includes a search of each partition of the history for the id of the second task


LOOKS: dict[str, Callable[[Session, UUID], object]] = {
    "replay": lambda session, task_id: enqueue(session, request(task_id), replay=True),
    "task_result": lambda session, task_id: call(session, task_queries.task_result(task_id)),
    "task_info": lambda session, task_id: call(session, task_queries.task_info(task_id)),
    "task_attempts": lambda session, task_id: call(session, task_queries.task_attempts(task_id)),
    "ended_among": lambda session, task_id: call(session, task_queries.ended_among([task_id])),
    "cancel": lambda session, task_id: call(session, task_queries.cancel(task_id)),
    "notify_cancel": lambda session, task_id: call(session, task_queries.notify_cancel(task_id)),
    "progress": lambda session, task_id: call(session, task_queries.progress(task_id, 1, b"1")),
    "rerun": lambda session, task_id: call(session, task_queries.rerun(task_id, uuid7())),
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("number", [DUE, ENDED, NEVER_SENT], ids=["waiting", "ended", "unknown"])
def test_one_task_is_looked_up_by_key(full: Session, name: str, number: int) -> None:
    with reading(full) as reads:
        LOOKS[name](full, numbered_id(number))
    assert reads.whole_tables <= {"workers", "queues"}
    assert all(index.endswith("_pkey") for index in reads.indexes)
    assert reads.rows <= 5
    assert reads.blocks < 200


def test_idle_maintenance_does_not_read_waiting_tasks(full: Session) -> None:
    full.execute("analyze horsies.tasks")  # a cluster with maintenance has statistics
    with reading(full) as reads:
        reap(full)
        expire(full)
    assert reads.whole_tables <= {"workers"}
    assert reads.rows < 10
    assert reads.blocks < 60


@QUEUES
def test_a_plan_made_for_an_empty_table_still_serves_when_it_is_full(db: Session, queues: list[str]) -> None:
    db.execute("alter table horsies.tasks set (autovacuum_enabled = off)")
    worker = DrivenWorker(db, queues=queues)
    for _ in range(10):
        send_due(db, 1)
        assert worker.finish(done(worker.claim_one())) == ["accepted"]
    fill(db, FUTURE, due_in=3600)
    send_due(db)
    with reading(db) as reads:
        fences = worker.claim(10)
        assert set(worker.finish(*map(done, fences))) == {"accepted"}
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= CLAIM_READS | IN_FLIGHT
    assert reads.rows < 500  # includes ended rows, which stay in the indexes until a vacuum
    assert reads.blocks < 1000


def plans(session: Session) -> list[dict[str, Any]]:
    """Return a list to which the plans of all later statements are added, including those in functions."""
    found: list[dict[str, Any]] = []

    def note(notice: Diagnostic) -> None:
        _, _, plan = (notice.message_primary or "").partition("plan:\n")
        if plan:
            found.append(json.loads(plan)["Plan"])

    session.execute("load 'auto_explain'")
    for name, value in _AUTO_EXPLAIN.items():
        session.execute(f"set auto_explain.{name} = {value}".encode())
    session.add_notice_handler(note)
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@QUEUES
def test_a_claim_walks_its_index_in_order_and_joins_by_key(full: Session, queues: list[str]) -> None:
    worker = DrivenWorker(full, queues=queues)
    send_due(full)
    found = plans(full)
    assert len(worker.claim(10)) == 10
    of_tasks = [node for plan in found for node in nodes(plan) if node.get("Relation Name") == "tasks"]
    scans = {(node["Node Type"], node.get("Index Name")) for node in of_tasks}
    assert scans - {("ModifyTable", None)} == {
        ("Index Scan", "tasks_to_claim"),
        ("Index Only Scan", "tasks_to_claim"),
        ("Index Scan", "tasks_pkey"),
    }
    sorts = [node for plan in found for node in nodes(plan) if node["Node Type"] == "Sort"]
    assert all(node["Actual Rows"] <= 60 for node in sorts)  # the rows that a claim of ten reads


@pytest.mark.parametrize("replay", [False, True], ids=["first send", "replay"])
def test_the_plans_of_a_send_of_many_tasks_read_each_row_once(full: Session, *, replay: bool) -> None:
    found = plans(full)

    def rows_read(count: int) -> float:
        found.clear()
        send_many(full, count, replay=replay)
        read = [node for plan in found for node in nodes(plan) if node["Actual Loops"] > 0]
        assert {"ModifyTable", "Hash Join"} <= {node["Node Type"] for node in read}
        assert "Seq Scan" not in {node["Node Type"] for node in read}
        assert max(node["Actual Loops"] for node in read) == 1  # a nested loop would read its inner side for each row
        return sum(node["Actual Rows"] for node in read)

    few = rows_read(100)
    assert rows_read(1000) <= 10 * few
